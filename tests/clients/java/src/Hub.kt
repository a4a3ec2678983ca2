import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpRequest.BodyPublishers
import java.net.http.HttpResponse.BodyHandlers
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.TimeUnit.SECONDS
import kotlin.random.Random
import org.json.JSONObject

/** How long anything may take; generous, for slow machines. */
const val PATIENCE_SECS = 60L

private const val SECRET = "secret-for-tests-only-0123456789abcdef"
private const val BANNER = "orderhub listens on "
private val BINARY = System.getenv("ORDERHUB_BIN") ?: Path.of("../../../target/debug/orderhub").toRealPath().toString()

/** A hub in a process of its own; started again it listens on the same port. */
class Hub(private vararg val env: Pair<String, String>) : AutoCloseable {
    private val folder = Files.createTempDirectory("orderhub-client-tests-")
    private val log = folder.resolve("log").toFile()
    private lateinit var process: Process
    lateinit var url: String private set

    init {
        // Below the ports that the system gives away; where one is taken, another one.
        (1..20).firstOrNull { launch(Random.nextInt(20_000, 32_000)) } ?: error(log.readText())
    }

    private fun launch(port: Int): Boolean {
        process = orderhub(*env, "BIND_ADDR" to "127.0.0.1:$port", "DATA_DIR" to "$folder/data")
            .redirectError(ProcessBuilder.Redirect.appendTo(log)).start()
        val line = process.inputReader().readLine() ?: return false
        url = line.removePrefix(BANNER)
        return true
    }

    /** SIGTERM or SIGKILL, and the next process on the same port. */
    fun restart(signal: String) {
        signal(signal)
        check(process.waitFor(PATIENCE_SECS, SECONDS)) { "the hub did not end" }
        check(signal == "KILL" || process.exitValue() == 0) { log.readText() }
        check(launch(URI(url).port)) { log.readText() }
    }

    fun signal(name: String) {
        ProcessBuilder("kill", "-$name", "${process.pid()}").start().waitFor()
    }

    /** What a back end, a driver's phone or an admin says over HTTP. */
    fun http(method: String, path: String, token: String, body: String = ""): JSONObject {
        val request = HttpRequest.newBuilder(URI(url + path)).method(method, BodyPublishers.ofString(body))
            .header("Authorization", "Bearer $token").header("Content-Type", "application/json")
        return JSONObject(HttpClient.newHttpClient().send(request.build(), BodyHandlers.ofString()).body())
    }

    override fun close() {
        process.destroyForcibly().waitFor()
        folder.toFile().deleteRecursively()
    }
}

fun token(user: String, order: String, role: String = "customer", ttl: String = "1h"): String {
    val process = orderhub().command(BINARY, "token", "--user", user, "--role", role, "--order", order, "--ttl", ttl)
    return process.redirectError(ProcessBuilder.Redirect.INHERIT).start().inputReader().readText().trim()
}

private fun orderhub(vararg env: Pair<String, String>): ProcessBuilder {
    val builder = ProcessBuilder(BINARY)
    builder.environment().run { clear(); put("JWT_SECRET", SECRET); putAll(env) }
    return builder
}
