-- Ends the attempt that holds the token. A user's wish to cancel beats a retry.
if not holds(args.id, args.token) then return reply({lost = true}) end
if args.state == 'queued' and redis.call('HGET', job_key(args.id), 'cancel_requested') == '1' then
  args.state, args.reason = 'cancelled', 'cancelled'
end
settle(args.id, 'running', args.state, args.reason, args.message, args)
return reply({state = args.state}, true)
