-- Component: sends every message and IQ back to its sender.
local st = require "util.stanza";

local function echo(event)
	local stanza = st.clone(event.stanza);
	stanza.attr.from, stanza.attr.to = stanza.attr.to, stanza.attr.from;
	module:send(stanza);
	return true;
end

for _, kind in ipairs { "message", "iq" } do
	for _, target in ipairs { "host", "bare", "full" } do
		module:hook(kind .. "/" .. target, echo);
	end
end
