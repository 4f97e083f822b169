%% Answers the CPU time of the server, and the number of this build; echoes every packet at echo.HOST.
-module(mod_bench).
-export([start/2, stop/1, reload/3, depends/2, mod_options/1, mod_doc/0,
         decode_iq_subel/1, process_iq/1, echo/1]).

start(Host, _Options) ->
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, <<"ejabberd:cputime">>, ?MODULE, process_iq),
    ejabberd_router:register_route(<<"echo.", Host/binary>>, Host, {apply, ?MODULE, echo}),
    ok.

stop(Host) ->
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, <<"ejabberd:cputime">>),
    ejabberd_router:unregister_route(<<"echo.", Host/binary>>).

reload(_Host, _New, _Old) -> ok.
depends(_Host, _Options) -> [].
mod_options(_Host) -> [].
mod_doc() -> #{}.

%% ejabberd knows no schema for this payload: take it as it is.
decode_iq_subel(Element) -> Element.

process_iq(IQ) ->
    {Milliseconds, _} = statistics(runtime),
    Time = list_to_binary(io_lib:format("~.3f", [Milliseconds / 1000])),
    xmpp:make_iq_result(IQ, {xmlel, <<"query">>,
                             [{<<"xmlns">>, <<"ejabberd:cputime">>}, {<<"build">>, <<?BUILD>>}],
                             [{xmlel, <<"time">>, [], [{xmlcdata, Time}]}]}).

echo(Packet) ->
    From = xmpp:get_from(Packet),
    To = xmpp:get_to(Packet),
    ejabberd_router:route(xmpp:set_from_to(Packet, To, From)).
