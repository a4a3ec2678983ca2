import io.socket.engineio.client.transports.Polling
import io.socket.engineio.client.transports.WebSocket
import java.util.UUID
import org.json.JSONObject
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

/** What the example clients of Android do; the classes at the end name the ways. */
abstract class RoomTest {
    private val order = "order-${UUID.randomUUID()}"
    private val closing = mutableListOf<AutoCloseable>()

    @AfterEach
    fun close() = closing.asReversed().forEach { it.close() }

    abstract fun room(url: String, order: String, fetchToken: () -> String, onEvent: (String, JSONObject) -> Unit): OrderRoom

    private fun hub(vararg env: Pair<String, String>) = Hub(*env).also { closing += it }

    private inner class Device(hub: Hub, room: String = order, fetchToken: () -> String) {
        val inbox = Inbox()
        val room = room(hub.url, room, fetchToken, inbox::push).also { closing += it }.apply { connect() }

        fun hear() = inbox.take("chat:message").run { getLong("seq") to getString("content") }
    }

    private fun joined(hub: Hub, user: String, ttl: String = "1h") =
        Device(hub) { token(user, order, ttl = ttl) }.apply { inbox.take("order:joined") }

    @Test
    fun `a room is joined, a position and chat are heard, chat is sent`() {
        val hub = hub()
        val (ann, bob) = joined(hub, "ann") to joined(hub, "bob")
        val fix = """{"orderId":"$order","lat":45.27,"lng":13.71}"""
        hub.http("POST", "/api/v1/drivers/me/locations", token("driver-1", order, "driver"), fix)
        assertEquals(45.27, ann.inbox.take("location:updated").getDouble("lat"))
        ann.room.send("dveře")
        for (device in listOf(ann, bob)) assertEquals(1L to "dveře", device.hear())
    }

    @Test
    fun `an order of others is refused and the code is told`() {
        val stranger = Device(hub(), room = "order-of-others") { token("ann", order) }
        assertEquals("forbidden", stranger.inbox.take("refused").getString("code"))
    }

    @Test
    fun `after a deploy it is back and has missed nothing`() = restarts("TERM") { ann ->
        val end = ann.inbox.take("session:end")
        assertEquals(1012 to true, end.getInt("code") to end.getBoolean("retry"))
    }

    @Test
    fun `after a crash it is back and has missed nothing`() = restarts("KILL") {}

    private fun restarts(signal: String, andThen: (Device) -> Unit) {
        val hub = hub()
        val (ann, bob) = joined(hub, "ann") to joined(hub, "bob")
        ann.room.send("one")
        assertEquals(1L to "one", ann.hear())
        hub.restart(signal)
        andThen(ann)
        // Kept until it is back.
        bob.room.send("two")
        assertEquals(2L to "two", ann.hear())
        ann.inbox.take("order:joined")
        bob.room.send("three")
        assertEquals(3L to "three", ann.hear())
        for (expected in listOf(1L to "one", 2L to "two", 3L to "three")) assertEquals(expected, bob.hear())
        assertEquals(0, ann.inbox.count("chat:message") + bob.inbox.count("chat:message"))
    }

    @Test
    fun `a network that dies without a word is noticed`() {
        val hub = hub("PING_INTERVAL_MS" to "2000", "PONG_TIMEOUT_MS" to "2000")
        val ann = joined(hub, "ann")
        // It answers nothing, and ends nothing.
        hub.signal("STOP")
        ann.inbox.take("closed")
        ann.room.send("kept")
        hub.signal("CONT")
        ann.inbox.take("order:joined")
        assertEquals(1L to "kept", ann.hear())
    }

    @Test
    fun `a token is renewed before its end and the session goes on`() {
        val hub = hub("JWT_LEEWAY_SECS" to "0")
        var fetched = 0
        val ann = Device(hub) { token("ann", order, ttl = if (fetched++ == 0) "10s" else "1h") }
        ann.inbox.take("order:joined")
        // Its token is the same, and nothing renews it.
        val witness = TokenTest.bare(hub, token("bob", order, ttl = "10s"))
        witness.use { it.inbox.take("session:end") }
        ann.room.send("still here")
        assertEquals(1L to "still here", ann.hear())
        assertEquals(2, fetched)
        assertEquals(0, ann.inbox.count("session:end"))
    }

    @Test
    fun `a token that the hub does not take is replaced`() {
        var fetched = 0
        val ann = Device(hub()) { if (fetched++ == 0) "no token" else token("ann", order) }
        ann.inbox.take("order:joined")
        assertEquals(2, fetched)
    }

    @Test
    fun `removed by an admin it hears so and stays away`() {
        val hub = hub()
        val ann = joined(hub, "ann")
        hub.http("DELETE", "/admin/v1/users/ann/sessions", token("ops", order, "admin"))
        val end = ann.inbox.take("session:end")
        assertEquals(4403 to false, end.getInt("code") to end.getBoolean("retry"))
    }
}

class OnWebSocketTest : RoomTest() {
    override fun room(url: String, order: String, fetchToken: () -> String, onEvent: (String, JSONObject) -> Unit) =
        OrderSocket(url, order, fetchToken, onEvent = onEvent)
}

class ByPollingTest : RoomTest() {
    override fun room(url: String, order: String, fetchToken: () -> String, onEvent: (String, JSONObject) -> Unit) =
        OrderSocket(url, order, fetchToken, arrayOf(Polling.NAME), onEvent)
}

class WhileUpgradingTest : RoomTest() {
    override fun room(url: String, order: String, fetchToken: () -> String, onEvent: (String, JSONObject) -> Unit) =
        OrderSocket(url, order, fetchToken, arrayOf(Polling.NAME, WebSocket.NAME), onEvent)
}

class OnPlainWebSocketTest : RoomTest() {
    override fun room(url: String, order: String, fetchToken: () -> String, onEvent: (String, JSONObject) -> Unit) =
        OrderWebSocket(url, order, fetchToken, pingSecs = 1, onEvent)
}
