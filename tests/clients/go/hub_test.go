// Package clients tests the hub with clients of Go: a port of the stock Socket.IO client, and a plain WebSocket.
package clients

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// How long anything may take; generous, for slow machines.
const patience = 60 * time.Second

const (
	secret = "JWT_SECRET=secret-for-tests-only-0123456789abcdef"
	banner = "orderhub listens on "
)

var binary = func() string {
	if path := os.Getenv("ORDERHUB_BIN"); path != "" {
		return path
	}
	return "../../../target/debug/orderhub"
}()

// A hub in a process of its own; started again it listens on the same port.
type hub struct {
	t       *testing.T
	url     string
	env     []string
	log     *os.File
	process *exec.Cmd
}

func startHub(t *testing.T, env ...string) *hub {
	folder := t.TempDir()
	log, err := os.Create(filepath.Join(folder, "log"))
	check(t, err)
	h := &hub{t: t, log: log, env: append(env, secret, "DATA_DIR="+filepath.Join(folder, "data"))}
	t.Cleanup(func() { h.process.Process.Kill(); h.process.Wait() })
	for range 20 {
		// Below the ports that the system gives away; where one is taken, another one.
		if h.launch(fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))) {
			return h
		}
	}
	t.Fatal("the hub did not start")
	return nil
}

func (h *hub) launch(address string) bool {
	h.process = exec.Command(binary)
	h.process.Env = append(h.env, "BIND_ADDR="+address)
	h.process.Stderr = h.log
	out, err := h.process.StdoutPipe()
	check(h.t, err)
	check(h.t, h.process.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	h.url = strings.TrimSpace(strings.TrimPrefix(line, banner))
	return line != ""
}

// SIGTERM or SIGKILL, and the next process on the same port.
func (h *hub) restart(signal syscall.Signal) {
	check(h.t, h.process.Process.Signal(signal))
	if err := h.process.Wait(); err != nil && signal == syscall.SIGTERM {
		h.t.Fatal("the hub did not stop in order:", err)
	}
	if !h.launch(strings.TrimPrefix(h.url, "http://")) {
		h.t.Fatal("the hub did not start again")
	}
}

// What an admin or a driver's phone says over HTTP.
func (h *hub) http(method, path, token, body string) {
	request, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	check(h.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	check(h.t, err)
	answer.Body.Close()
	equal(h.t, answer.StatusCode, 200)
}

func token(t *testing.T, user, order, role, ttl string) string {
	command := exec.Command(binary, "token", "--user", user, "--order", order, "--role", role, "--ttl", ttl)
	command.Env = []string{secret}
	out, err := command.Output()
	check(t, err)
	return strings.TrimSpace(string(out))
}

type object = map[string]any

type told struct {
	event string
	data  object
}

// What a client was told, until a test takes it out.
type inbox struct {
	t      *testing.T
	coming chan told
	kept   []told
}

func newInbox(t *testing.T) *inbox { return &inbox{t: t, coming: make(chan told, 10_000)} }

func (i *inbox) push(event string, data any) {
	fields, _ := data.(object)
	i.coming <- told{event, fields}
}

// The data of the next event of this name; others are kept.
func (i *inbox) take(event string) object {
	i.t.Helper()
	deadline := time.After(patience)
	for at := 0; ; at++ {
		if at == len(i.kept) {
			select {
			case next := <-i.coming:
				i.kept = append(i.kept, next)
			case <-deadline:
				i.t.Fatalf("expected %s, have %v", event, i.kept)
			}
		}
		if found := i.kept[at]; found.event == event {
			i.kept = append(i.kept[:at], i.kept[at+1:]...)
			return found.data
		}
	}
}

// Takes chat messages, which must be these.
func (i *inbox) hears(contents ...string) {
	i.t.Helper()
	for _, content := range contents {
		equal(i.t, i.take("chat:message")["content"], any(content))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}
