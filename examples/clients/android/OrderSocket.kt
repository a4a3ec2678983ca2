// With Socket.IO:
//
//   implementation("io.socket:socket.io-client:2.1.2") { exclude(group = "org.json", module = "json") }
//   implementation("com.squareup.okhttp3:okhttp:4.12.0")

import io.socket.client.Ack
import io.socket.client.IO
import io.socket.client.Socket
import io.socket.engineio.client.transports.WebSocket
import java.util.concurrent.ConcurrentHashMap
import org.json.JSONObject

class OrderSocket(
    url: String,
    orderId: String,
    fetchToken: () -> String,
    transports: Array<String> = arrayOf(WebSocket.NAME),
    onEvent: (String, JSONObject) -> Unit,
) : OrderRoom(orderId, fetchToken, onEvent) {
    private val auth = ConcurrentHashMap<String, String>() // The client reads it at every CONNECT.
    private val options = IO.Options.builder().setAuth(auth).setTransports(transports).setForceNew(true)
    private val socket = IO.socket("$url/events", options.build())

    init {
        socket.on(Socket.EVENT_CONNECT) { join() }
        socket.on("chat:message") { args -> show(args[0] as JSONObject) } // args[1] is an offset.
        for (event in listOf("location:updated", "order:status", "order:left", "session:end")) {
            socket.on(event) { args -> onEvent(event, args[0] as JSONObject) }
        }
        socket.on("auth:expiring") {
            withToken { token ->
                auth["token"] = token
                socket.emit("auth:refresh", JSONObject().put("token", token))
            }
        }
        socket.on(Socket.EVENT_CONNECT_ERROR) { args -> refused(args[0]) }
        socket.on(Socket.EVENT_DISCONNECT) { args ->
            onEvent("closed", JSONObject().put("reason", args[0]))
            // The hub has put us out, and the client stays away. After every other end it comes back.
            if (!socket.isActive) close()
        }
    }

    override fun connect() = withToken { token ->
        auth["token"] = token
        socket.connect()
    }

    private fun refused(error: Any) {
        // An exception is the network's: the client goes on trying. After a refusal by the hub it does not.
        val refusal = (error as? JSONObject)?.optJSONObject("data") ?: return
        when (refusal.getString("code")) {
            "token_expired", "unauthenticated" -> after(1_000) { connect() } // With a new token.
            "rate_limited" -> after(refusal.optLong("retryAfterMs")) { connect() }
            else -> onEvent("refused", refusal)
        }
    }

    override fun call(event: String, data: JSONObject, onReply: (JSONObject) -> Unit) {
        if (!socket.connected()) return
        socket.emit(event, arrayOf(data), Ack { args -> onReply(args[0] as JSONObject) })
    }

    override fun close() {
        super.close()
        socket.disconnect()
    }
}
