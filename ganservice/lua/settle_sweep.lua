-- Writes down how the jobs of a sweep stand and what it waits for; in another state than `running`, it is over. What is
-- long gone is forgotten.
clear_sweep(args.id)
local key = sweep_key(args.id)
local state = redis.call('HGET', key, 'state')
if state ~= 'running' then
  redis.call('SREM', root .. 'live_sweeps', args.id)
  return reply({state = state})
end
for _, name in ipairs({'children', 'jobs', 'protocol'}) do
  if args[name] then redis.call('HSET', key, name, args[name]) end
end
if args.waiting_for then redis.call('HSET', key, 'waiting_for', cut(args.waiting_for, bounds.text_bytes))
else redis.call('HDEL', key, 'waiting_for') end
if args.state == 'running' then return reply({state = state}) end
redis.call('HSET', key, 'state', args.state, 'message', cut(args.message, bounds.text_bytes), 'finished_at', now)
redis.call('SREM', root .. 'live_sweeps', args.id)
for _, expiring in ipairs(keys_of_sweep(args.id)) do redis.call('PEXPIRE', expiring, args.ttl_ms) end
for _, id in ipairs(redis.call('ZRANGE', root .. 'sweeps', 0, 99)) do
  if redis.call('EXISTS', sweep_key(id)) == 0 then redis.call('ZREM', root .. 'sweeps', id) end
end
return reply({state = args.state}, true)
