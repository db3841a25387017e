-- Renews the lease and writes what the attempt has to say. Answers with a directive.
local attempt = holds(args.id, args.token)
if not attempt then return reply({lost = true}) end
local key, told = job_key(args.id), args.report
account(args.id)
redis.call('ZADD', state_key('running'), now + args.lease_ms, args.id)
redis.call('HSET', key, 'heartbeat_at', now, 'lease_expires_at', now + args.lease_ms)
write_report(args.id, attempt, told)
local asked = redis.call('HMGET', key, 'cancel_requested', 'yield_requested')
local stop, yield = asked[1] == '1', number(asked[2]) == args.token
local counted = #told.events > 0 or #told.logs > 0 or told.missed_beats > 0 or told.resumed_images
return reply({directive = stop and 'stop' or yield and 'yield' or 'continue'}, counted)
