import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit.NANOSECONDS
import java.util.concurrent.TimeUnit.SECONDS
import org.json.JSONObject

/** What a client was told, until a test takes it out. */
class Inbox {
    private val coming = LinkedBlockingQueue<Pair<String, JSONObject>>()
    private val kept = mutableListOf<Pair<String, JSONObject>>()

    fun push(event: String, data: JSONObject = JSONObject()) {
        coming.put(event to data)
    }

    /** The data of the next event of this name; others are kept. */
    fun take(event: String): JSONObject {
        val end = System.nanoTime() + SECONDS.toNanos(PATIENCE_SECS)
        while (true) {
            val found = kept.indexOfFirst { it.first == event }
            if (found >= 0) return kept.removeAt(found).second
            val next = coming.poll(end - System.nanoTime(), NANOSECONDS)
            kept += next ?: throw AssertionError("expected $event, have ${kept.map { it.first }}")
        }
    }

    /** How many events of this name have come and were not taken. */
    fun count(event: String): Int {
        coming.drainTo(kept)
        return kept.count { it.first == event }
    }
}
