-- Puts a failed or cancelled job back into the queue, with all its tries; it goes on from its last checkpoint. It waits
-- again for the job after which it is to run; one that is gone has been waited for, or nobody can.
local key = job_key(args.id)
local job = redis.call('HMGET', key, 'state', 'priority', 'order', 'attempt', 'after', 'sweep', 'until_images')
if not job[1] then return reply({missing = true}) end
if job[1] ~= 'failed' and job[1] ~= 'cancelled' then return reply({state = job[1], refused = true}) end
-- How far such a job trains is for its sweep to say, as long as that lasts: the place of this one may be another's by now.
if job[6] and job[7] and redis.call('HGET', sweep_key(job[6]), 'state') == 'running' then return reply({sweep = job[6]}) end
local too_many = too_many_queued(user_of(args.id))
if too_many then return reply({too_many = too_many}) end
if job[5] then clear(job[5]) end
local after = job[5] and redis.call('EXISTS', job_key(job[5])) == 1 and job[5]
local standing = after and number(job[4]) == 0 and standing_of(after) or 'done'
if standing ~= 'live' and standing ~= 'done' then return reply({never = standing}) end
too_many = standing == 'live' and too_many_following(after, user_of(args.id))
if too_many then return reply({too_many = too_many}) end
for _, kept in ipairs(keys_of(args.id)) do redis.call('PERSIST', kept) end
redis.call('ZREM', state_key(job[1]), args.id)
-- What its sweep makes of a job is over with that: taken up again, it trains to its end.
redis.call('HDEL', key, 'finished_at', 'reason', 'message', 'not_before', 'until_images')
redis.call('HSET', key, 'state', 'queued', 'failures', 0, 'troubles', 0, 'trouble_ms', 0)
under_way(args.id, true)
if standing == 'live' then follow(args.id, after)
else enqueue(args.id, number(job[2]) or 0, number(job[3]) or 0, now) end
event(args.id, 'retried', job[4], cjson.encode({by = args.by}))
return reply({state = 'queued'}, true)
