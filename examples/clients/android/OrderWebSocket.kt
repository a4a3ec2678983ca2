// With a plain WebSocket:
//
//   implementation("com.squareup.okhttp3:okhttp:4.12.0")

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.TimeUnit.SECONDS
import java.util.concurrent.atomic.AtomicLong
import kotlin.random.Random
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.Response
import okhttp3.WebSocket
import okhttp3.WebSocketListener
import org.json.JSONObject

class OrderWebSocket(
    private val url: String,
    orderId: String,
    fetchToken: () -> String,
    pingSecs: Long = 20,
    onEvent: (String, JSONObject) -> Unit,
) : OrderRoom(orderId, fetchToken, onEvent) {
    // A ping that is not answered until the next one is due is a failure: how a dead network is noticed.
    private val http = OkHttpClient.Builder().pingInterval(pingSecs, SECONDS).build()
    private val nextId = AtomicLong()
    private val replies = ConcurrentHashMap<Long, (JSONObject) -> Unit>()
    private var attempts = 0
    @Volatile private var socket: WebSocket? = null

    override fun connect() = withToken { token ->
        val request = Request.Builder().url("$url/ws").header("Authorization", "Bearer $token").build()
        http.newWebSocket(request, Listener())
    }

    private inner class Listener : WebSocketListener() {
        private var end: JSONObject? = null // What `session:end` said.

        override fun onOpen(webSocket: WebSocket, response: Response) {
            socket = webSocket
            join()
        }

        override fun onMessage(webSocket: WebSocket, text: String) {
            val message = JSONObject(text)
            val data = message.optJSONObject("data") ?: JSONObject()
            when (val event = message.getString("event")) {
                "ack" -> {
                    if (data.getBoolean("ok")) attempts = 0
                    replies.remove(message.getLong("id"))?.invoke(data)
                }
                "chat:message" -> show(data)
                "auth:expiring" -> withToken { call("auth:refresh", JSONObject().put("token", it)) {} }
                else -> {
                    if (event == "session:end") end = data
                    onEvent(event, data)
                }
            }
        }

        // Without this `onClosed` never comes.
        override fun onClosing(webSocket: WebSocket, code: Int, reason: String) {
            webSocket.close(1000, null)
        }

        override fun onClosed(webSocket: WebSocket, code: Int, reason: String) =
            ended(stays = code in 4400..4499 && code != 4401)

        // No network, no answer to a ping, or a refusal over HTTP. After 401 the next try has a new token.
        override fun onFailure(webSocket: WebSocket, t: Throwable, response: Response?) =
            ended(stays = response?.code == 403)

        private fun ended(stays: Boolean) {
            replies.clear()
            onEvent("closed", JSONObject())
            if (end?.getBoolean("retry")?.not() ?: stays) return close()
            val backOff = minOf(30_000, 500L shl minOf(attempts++, 6)) * Random.nextDouble(0.5, 1.0)
            after(end?.optLong("reconnectAfterMs", -1)?.takeIf { it >= 0 } ?: backOff.toLong()) { connect() }
        }
    }

    override fun call(event: String, data: JSONObject, onReply: (JSONObject) -> Unit) {
        val id = nextId.incrementAndGet()
        replies[id] = onReply
        val message = JSONObject().put("event", event).put("id", id).put("data", data)
        if (socket?.send(message.toString()) != true) replies.remove(id)
    }

    override fun close() {
        super.close()
        socket?.close(1000, null)
        http.dispatcher.executorService.shutdown()
    }
}
