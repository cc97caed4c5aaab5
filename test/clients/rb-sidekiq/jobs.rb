# The jobs; the worker is started with this file.
require 'sidekiq'
require 'sidekiq-cron'

URL = "redis://#{ENV['REDIS_HOST']}:#{ENV['REDIS_PORT']}" unless defined?(URL)

def put(text)
  Sidekiq.redis { |r| r.rpush('out', text) }
end

Sidekiq.configure_server do |c|
  c.redis = { url: URL }
  c.options[:poll_interval_average] = 1
  c.options[:average_scheduled_poll_interval] = 1
  c.logger.level = Logger::INFO
  c.death_handlers << ->(job, _error) { put("death:#{job['class']}") }
end
Sidekiq.configure_client { |c| c.redis = { url: URL } }

class Add
  include Sidekiq::Worker
  sidekiq_options queue: 'default'

  def perform(a, b)
    put("sum:#{a + b}")
  end
end

class Flaky
  include Sidekiq::Worker
  sidekiq_options retry: 5
  sidekiq_retry_in { |_count| 1 }

  def perform
    raise 'not yet' if Sidekiq.redis { |r| r.incr('flaky') } < 2

    put('flaky:ok')
  end
end

class Dead
  include Sidekiq::Worker
  sidekiq_options retry: 0

  def perform
    raise('dead job')
  end
end

class Crit
  include Sidekiq::Worker
  sidekiq_options queue: 'critical'

  def perform(text)
    put("crit:#{text}")
  end
end

class Cron
  include Sidekiq::Worker

  def perform(*)
    put('cron')
  end
end
