require 'helpers'
require 'redis'
url = "rediss://localhost:#{ENV['AP']}"
r = Redis.new(url: url, ssl_params: { ca_file: ENV['WORK'] + '/ca.crt' })
eq r.get('io'), 'v'
eq r.pipelined { |p|
  p.set('rb', 1)
  p.get('rb')
}, %w[OK 1]
raises(StandardError, /certificate/) { Redis.new(url: url, reconnect_attempts: 0).ping }
