import io.socket.client.IO
import io.socket.client.Socket
import io.socket.engineio.client.transports.WebSocket
import java.util.concurrent.ConcurrentHashMap
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Test

/** What the stock client tells of its token, with nothing around it. */
class TokenTest {
    class Bare(val socket: Socket, val auth: MutableMap<String, String>, val inbox: Inbox) : AutoCloseable {
        override fun close() {
            socket.disconnect()
        }
    }

    companion object {
        fun bare(hub: Hub, token: String, headers: Map<String, List<String>> = emptyMap()): Bare {
            val auth = ConcurrentHashMap(mapOf("token" to token))
            val options = IO.Options.builder().setAuth(auth).setExtraHeaders(headers)
                .setTransports(arrayOf(WebSocket.NAME)).setForceNew(true).build()
            val bare = Bare(IO.socket("${hub.url}/events", options), auth, Inbox())
            for (event in listOf(Socket.EVENT_CONNECT, "auth:expiring", "session:end")) {
                bare.socket.on(event) { args -> bare.inbox.push(event, args.getOrNull(0) as? JSONObject ?: JSONObject()) }
            }
            bare.socket.on(Socket.EVENT_CONNECT_ERROR) { args ->
                (args[0] as? JSONObject)?.let { bare.inbox.push("connect_error", it) } // Else it is the network.
            }
            bare.socket.on(Socket.EVENT_DISCONNECT) { args -> bare.inbox.push("disconnect", JSONObject().put("reason", args[0])) }
            bare.socket.connect()
            return bare
        }
    }

    @Test
    fun `a token that ends is told, and another one lets it in again`() {
        Hub("JWT_LEEWAY_SECS" to "0").use { hub ->
            bare(hub, token("ann", "order-1", ttl = "10s")).use { ann ->
                ann.inbox.take("auth:expiring")
                val end = ann.inbox.take("session:end")
                assertEquals(4401 to "token_expired", end.getInt("code") to end.getString("reason"))
                // It comes back by itself, with the old token, and is refused for good.
                assertEquals("token_expired", ann.inbox.take("connect_error").getJSONObject("data").getString("code"))
                assertFalse(ann.socket.isActive)
                ann.inbox.take("connect")
                ann.auth["token"] = token("ann", "order-1")
                ann.socket.connect()
                ann.inbox.take("connect")
            }
        }
    }

    @Test
    fun `put out by an admin it is told so and does not try again`() {
        Hub().use { hub ->
            bare(hub, token("ann", "order-1")).use { ann ->
                ann.inbox.take("connect")
                hub.http("DELETE", "/admin/v1/users/ann/sessions", token("ops", "order-1", "admin"))
                assertEquals(4403, ann.inbox.take("session:end").getInt("code"))
                assertEquals("io server disconnect", ann.inbox.take("disconnect").getString("reason"))
                assertFalse(ann.socket.isActive)
            }
        }
    }

    @Test
    fun `another token in a header does no harm`() {
        Hub().use { hub ->
            val headers = mapOf("Authorization" to listOf("Bearer ${token("bob", "order-2")}"))
            bare(hub, token("ann", "order-1"), headers).use { it.inbox.take("connect") }
        }
    }
}
