-- Ends an attempt whose lease has not moved for its whole length, unless it was renewed or ended since the caller looked.
local job = redis.call('HMGET', job_key(args.id), 'state', 'token', 'cancel_requested')
local lease_expires_at = number(redis.call('ZSCORE', state_key('running'), args.id))
-- Of a job that cannot be read no token is known.
local is_same = lease_expires_at == args.lease_expires_at and (not args.token or number(job[2]) == args.token)
if job[1] ~= 'running' or not is_same then return reply({reaped = false}) end
if args.state == 'queued' and job[3] == '1' then args.state, args.reason = 'cancelled', 'cancelled' end
total('leases_lost')
settle(args.id, 'running', args.state, args.reason, args.message, args)
return reply({reaped = true}, true)
