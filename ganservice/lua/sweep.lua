-- Writes a sweep, whose jobs the leading dispatcher submits. The same idempotency key gives the sweep it gave before.
clear_sweep(args.id)
if redis.call('EXISTS', sweep_key(args.id)) == 1 then return reply({taken = true}) end
local existing = submitted_with(args.idempotency_key)
if existing then
  local same = redis.call('HGET', sweep_key(existing), 'spec') == args.spec
  return reply({id = existing, created = false, conflict = not same}, true)
end
local live = 0
for _, id in ipairs(redis.call('SMEMBERS', root .. 'live_sweeps')) do
  if args.user and redis.call('HGET', sweep_key(id), 'user') == args.user then live = live + 1 end
end
if live >= bounds.live_sweeps then
  return reply({refused = string.format('%s has %d sweeps that are not over, as many as may; wait for one', args.user, live)})
end
redis.call('HSET', sweep_key(args.id), 'id', args.id, 'format', args.format, 'spec', args.spec, 'state', 'running',
  'settings', args.settings, 'seeds', args.seeds, 'submitted_at', now)
if args.user then redis.call('HSET', sweep_key(args.id), 'user', args.user) end
if args.idempotency_key then
  redis.call('HSET', sweep_key(args.id), 'idempotency_key', args.idempotency_key)
  redis.call('SET', root .. 'idempotency:' .. args.idempotency_key, args.id)
end
redis.call('ZADD', root .. 'sweeps', now, args.id)
redis.call('SADD', root .. 'live_sweeps', args.id)
return reply({id = args.id, created = true}, true)
