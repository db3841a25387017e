-- Ends an attempt whose lease has run out, unless it was renewed or ended since the caller looked.
local job = redis.call('HMGET', job_key(args.id), 'state', 'token', 'lease_expires_at', 'cancel_requested')
if job[1] ~= 'running' or tonumber(job[2]) ~= args.token or tonumber(job[3]) > now then
  return reply({reaped = false})
end
if args.state == 'queued' and job[4] == '1' then args.state, args.reason = 'cancelled', 'cancelled' end
total('leases_lost')
settle(args.id, 'running', args.state, args.reason, args.message, args)
return reply({reaped = true}, true)
