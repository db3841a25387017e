-- Forgets a finished job, all its keys and places, now; of one that is gone, what may have stayed. What it found of a
-- training stays with the training. An evaluation in the queue keeps the job whose checkpoint it reads.
local key = job_key(args.id)
local state = redis.call('HGET', key, 'state')
if state == 'queued' or state == 'running' then return reply({state = state, refused = true}) end
for _, reader in ipairs(redis.call('HKEYS', under_way_key(args.id))) do
  clear(reader)
  local reads = redis.call('HGET', job_key(reader), 'state')
  if reads == 'queued' or reads == 'running' then return reply({read_by = reader}) end
end
-- The key of a submission may have come to stand for another job.
local idempotency_key = redis.call('HGET', key, 'idempotency_key')
if idempotency_key and redis.call('GET', root .. 'idempotency:' .. idempotency_key) ~= args.id then
  redis.call('HDEL', key, 'idempotency_key')
end
local existed, user = redis.call('EXISTS', key) == 1, user_of(args.id)
leave_queue(args.id, user)
if user then redis.call('SREM', held_key('running', user), args.id) end
redis.call('DEL', unpack(keys_of(args.id)))
-- Of one whose hash another hand has taken away, others may wait for the end.
follow_up(args.id, args.ttl_ms)
-- A job that another hand has damaged may be in any of these.
for _, state in ipairs({'queued', 'running', 'succeeded', 'failed', 'cancelled'}) do
  redis.call('ZREM', state_key(state), args.id)
end
forget_places(args.id)
return reply({deleted = existed}, true)
