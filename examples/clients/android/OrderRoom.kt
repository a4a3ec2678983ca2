import java.io.IOException
import java.util.TreeMap
import java.util.UUID
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit.MILLISECONDS
import org.json.JSONArray
import org.json.JSONObject

/**
 * One order's room, whatever it is reached by: chat is shown once, in order and without gaps, and what
 * is sent is sent again until the hub has it.
 *
 * [fetchToken] asks your back end; it may block and may throw an [IOException]. [onEvent] hears the events of the
 * hub, `refused` with an error, and `closed` when the connection has ended; it comes back by itself. It is called on
 * threads of the libraries: post to the main thread.
 */
abstract class OrderRoom(
    private val orderId: String,
    private val fetchToken: () -> String,
    protected val onEvent: (event: String, data: JSONObject) -> Unit,
) : AutoCloseable {
    protected val background = Executors.newSingleThreadScheduledExecutor()!!
    private var lastSeq: Long? = null // Up to here everything was shown.
    private val ahead = TreeMap<Long, JSONObject>() // Waits for those before it.
    private val unacked = LinkedHashMap<String, String>() // clientMsgId to content, in order.

    abstract fun connect()

    /** Sends an event if connected. [onReply] is not called where the connection ends before the answer. */
    protected abstract fun call(event: String, data: JSONObject, onReply: (JSONObject) -> Unit)

    @Synchronized
    fun send(content: String) {
        val key = UUID.randomUUID().toString()
        unacked[key] = content
        if (lastSeq != null) say(key, content)
    }

    override fun close() {
        background.shutdownNow()
    }

    protected fun withToken(use: (String) -> Unit) {
        after(0) {
            try {
                use(fetchToken())
            } catch (error: IOException) {
                after(5_000) { withToken(use) }
            }
        }
    }

    protected fun after(ms: Long, run: () -> Unit) {
        if (!background.isShutdown) background.schedule(run, ms, MILLISECONDS)
    }

    @Synchronized
    protected fun join() {
        val data = JSONObject().put("orderId", orderId).putOpt("sinceSeq", lastSeq)
        call("order:join", data) { reply -> if (reply.getBoolean("ok")) joined(reply) else refused(reply, ::join) }
    }

    @Synchronized
    private fun joined(room: JSONObject) {
        val messages = room.getJSONArray("messages")
        val end = room.getLong("lastSeq")
        if (lastSeq == null) lastSeq = end - messages.length()
        onEvent("order:joined", room)
        messages.forEachObject(::show)
        if (lastSeq!! < end) readOn() else sendAgain()
    }

    /** More was missed than fits into a snapshot. */
    private fun readOn() {
        val data = JSONObject().put("orderId", orderId).put("afterSeq", lastSeq).put("limit", 200)
        call("chat:history", data) { page ->
            if (page.getBoolean("ok")) read(page) else refused(page, ::join)
        }
    }

    private fun read(page: JSONObject) {
        page.getJSONArray("messages").forEachObject(::show)
        if (page.getBoolean("hasMore")) readOn() else sendAgain()
    }

    @Synchronized
    protected fun show(message: JSONObject) {
        if (message.getLong("seq") > (lastSeq ?: return)) ahead[message.getLong("seq")] = message
        while (true) {
            val next = ahead.remove(lastSeq!! + 1) ?: return
            lastSeq = lastSeq!! + 1
            onEvent("chat:message", next)
        }
    }

    @Synchronized
    private fun sendAgain() = unacked.toMap().forEach(::say)

    private fun say(key: String, content: String) {
        val data = JSONObject().put("orderId", orderId).put("content", content).put("clientMsgId", key)
        call("chat:message", data) { reply ->
            val sent = reply.getBoolean("ok")
            // The same key again: the hub stores it once.
            if (!sent && refused(reply) { say(key, content) }) return@call
            synchronized(this) { unacked.remove(key) }
        }
    }

    /** Whether it may be tried again, which then happens. */
    private fun refused(reply: JSONObject, again: () -> Unit): Boolean {
        val error = reply.getJSONObject("error")
        if (error.has("retryAfterMs")) after(error.getLong("retryAfterMs"), again) else onEvent("refused", error)
        return error.has("retryAfterMs")
    }
}

private fun JSONArray.forEachObject(use: (JSONObject) -> Unit) {
    for (index in 0 until length()) use(getJSONObject(index))
}
