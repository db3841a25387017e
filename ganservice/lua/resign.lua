-- Gives leadership up, so that another dispatcher need not wait for it to run out.
local key = root .. 'leader'
if number(redis.call('HGET', key, 'token')) == args.token then redis.call('HDEL', key, 'owner', 'token', 'expires_at') end
redis.call('ZREM', root .. 'dispatchers', args.owner)
return reply({})
