import java.io.File
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class DocsTest {
    @Test
    fun `what docs-clients shows is what these tests run`() {
        val examples = File("../../../examples/clients/android").listFiles()!!.map { it.readText().trimmed() }
        val page = File("../../../docs/clients.md").readText()
        val blocks = Regex("```kotlin\n(.*?)```", RegexOption.DOT_MATCHES_ALL).findAll(page).toList()
        assertTrue(blocks.isNotEmpty())
        for (block in blocks) {
            val code = block.groupValues[1].trimmed()
            assertTrue(examples.any { code in it }, code)
        }
    }

    private fun String.trimmed() = trim().lines().joinToString("\n") { it.trim() }
}
