require 'helpers'
require_relative 'jobs'
require 'sidekiq/api'
require 'sidekiq/web'
require 'rack/test'
require 'rack/session/cookie'
require 'securerandom'

LOG = ENV['WORK'] + '/bg-sidekiq.log'

def out
  Sidekiq.redis { |r| r.lrange('out', 0, -1) }
end

def start_worker
  spawn('sidekiq', '-r', './jobs.rb', '-c', '3', '-q', 'critical,3', '-q', 'default,1', '-t', '2',
        %i[out err] => LOG)
end

def enqueue
  Add.perform_async(1, 2)
  Sidekiq::Client.push_bulk('class' => Add, 'args' => (1..20).map { |i| [i, 100] })
  eq Sidekiq::Queue.new('default').size, 21
  taken_back = Add.perform_async(7, 7)
  ok Sidekiq::Queue.new.find_job(taken_back).delete
  eq Sidekiq::Queue.new.size, 21
  Crit.perform_async('x')
end

def first_jobs
  wait_for(20, 'first jobs') { out.size >= 22 }
  ok out.include?('sum:3') && out.include?('crit:x')
  ok((1..20).all? { |i| out.include?("sum:#{i + 100}") })
end

def scheduled_dead_and_retried
  Add.perform_in(1, 500, 5)
  taken_back = Add.perform_in(3600, 0, 0)
  ok Sidekiq::ScheduledSet.new.size >= 1
  ok Sidekiq::ScheduledSet.new.find_job(taken_back).delete
  Dead.perform_async
  Flaky.perform_async
  wait_for(5, 'dead') { out.include?('death:Dead') }
  wait_for(5, 'retry set') { Sidekiq::RetrySet.new.size == 1 || out.include?('flaky:ok') }
end

def cron
  ok Sidekiq::Cron::Job.create(name: 'c', cron: '* * * * *', class: 'Cron')
  job = Sidekiq::Cron::Job.find('c')
  eq job.status, 'enabled'
  job.enque!
  wait_for(6, 'cron job') { out.include?('cron') }
  Sidekiq::Cron::Job.destroy('c')
  eq Sidekiq::Cron::Job.count, 0
end

def statistics
  wait_for(12, 'scheduled job') { out.include?('sum:505') }
  wait_for(12, 'retried job') { out.include?('flaky:ok') }
  wait_for { Sidekiq::Stats.new.processed >= 25 }
  ok Sidekiq::Stats.new.failed >= 2
  processes = Sidekiq::ProcessSet.new
  eq processes.size, 1
  eq processes.first['concurrency'], 3
  ok Sidekiq::Stats::History.new(2).processed.values.sum > 0
end

def dashboard
  app = Rack::Builder.new do
    use Rack::Session::Cookie, secret: SecureRandom.hex(32)
    run Sidekiq::Web
  end
  browser = Rack::Test::Session.new(app.to_app)
  %w[/ /queues /busy /retries /scheduled /queues/default /stats /morgue].each do |path|
    browser.get(path)
    eq browser.last_response.status, 200, path
  end
  ok browser.last_response.body.include?('Dead')
end

def stop(worker)
  Sidekiq::ProcessSet.new.first.quiet!
  wait_for(8, 'quiet signal') { File.read(LOG).include?('no longer accepting new work') }
  Process.kill('TERM', worker)
  wait_for(10, 'worker stop') { Process.waitpid(worker, Process::WNOHANG) }
  eq Sidekiq::ProcessSet.new.size, 0
end

enqueue
worker = start_worker
first_jobs
scheduled_dead_and_retried
cron
statistics
dashboard
stop(worker)
