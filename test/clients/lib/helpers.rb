# What the scenarios in Ruby share.
HOST = ENV['REDIS_HOST']
PORT = ENV['REDIS_PORT'].to_i
URL = "redis://#{HOST}:#{PORT}"

def eq(got, want, what = 'value')
  return if got == want

  raise "#{what}: got #{got.inspect} want #{want.inspect} at #{caller(1, 1)[0]}"
end

def ok(value, what = 'assertion')
  value || raise("#{what} failed at #{caller(1, 1)[0]}")
end

def wait_for(seconds = 8, what = 'condition')
  deadline = Time.now + seconds
  loop do
    value = yield
    return value if value
    raise "timeout waiting for #{what} at #{caller(1, 1)[0]}" if Time.now > deadline

    sleep 0.05
  end
end

def raises(kind, pattern = nil)
  begin
    yield
  rescue kind => e
    ok(!pattern || e.message =~ pattern, "wrong message #{e.message}")
    return e
  end
  raise "#{kind} not raised at #{caller(1, 1)[0]}"
end
