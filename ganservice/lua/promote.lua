-- Lets a job of a sweep that has halted go on, to so many images; once, however often it is asked for.
local key = job_key(args.id)
local job = redis.call('HMGET', key, 'state', 'halted', 'until_images', 'priority', 'order', 'attempt')
local is_halted = job[1] == 'queued' and job[2] == '1' and (number(job[3]) or 0) < args.until_images
if not is_halted then return reply({promoted = false}) end
leave_queue(args.id, user_of(args.id))
redis.call('HDEL', key, 'halted', 'waiting_for', 'reason', 'message')
redis.call('HSET', key, 'until_images', args.until_images)
enqueue(args.id, number(job[4]) or 0, number(job[5]) or 0, now)
event(args.id, 'promoted', job[6], cjson.encode({images = args.until_images}))
return reply({promoted = true}, true)
