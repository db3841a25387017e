-- Writes down the wish that a sweep end with all its jobs, which the leading dispatcher fulfils, whatever another hand has
-- made of it.
local key = sweep_key(args.id)
if redis.call('EXISTS', key) == 0 then return reply({missing = true}) end
local state = redis.call('HGET', key, 'state')
if state ~= 'succeeded' and state ~= 'failed' and state ~= 'cancelled' then
  state = 'running'
  redis.call('HSET', key, 'state', state, 'cancel_requested', 1)
  redis.call('SADD', root .. 'live_sweeps', args.id)
  if args.by then redis.call('HSETNX', key, 'cancel_requested_by', args.by) end
end
return reply({state = state}, true)
