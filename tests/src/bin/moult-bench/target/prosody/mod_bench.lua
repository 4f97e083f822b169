-- Answers the CPU time of the server, and the number of this build.
local st = require "util.stanza";

module:hook("iq-get/host/ejabberd:cputime:query", function (event)
	local reply = st.reply(event.stanza);
	reply:tag("query", { xmlns = "ejabberd:cputime", build = "@BUILD@" });
	reply:tag("time"):text(string.format("%.3f", os.clock()));
	event.origin.send(reply);
	return true;
end);
