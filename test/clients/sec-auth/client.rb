require 'helpers'
require 'redis'
p = ENV['AP'].to_i
eq Redis.new(host: '127.0.0.1', port: p, password: 's3cret').ping, 'PONG'
r = Redis.new(url: "redis://app:apppw@127.0.0.1:#{p}/0")
eq r.set('app:rb', 1), 'OK'
raises(Redis::CommandError, /NOPERM/) { r.set('zz', 1) }
wrong = Redis.new(host: '127.0.0.1', port: p, password: 'bad')
raises(Redis::BaseError, /WRONGPASS/) { wrong.ping }
eq Redis.new(path: ENV['SOCK'], password: 's3cret').get('app:rb'), '1'
