-- Writes down the wish that a sweep end with all its jobs, which the leading dispatcher fulfils.
local state = redis.call('HGET', sweep_key(args.id), 'state')
if not state then return reply({missing = true}) end
if state == 'running' then
  redis.call('HSET', sweep_key(args.id), 'cancel_requested', 1)
  if args.by then redis.call('HSETNX', sweep_key(args.id), 'cancel_requested_by', args.by) end
end
return reply({state = state}, true)
