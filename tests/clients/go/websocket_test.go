package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

type plain struct {
	*inbox
	conn    *websocket.Conn
	nextID  int
	mutex   sync.Mutex
	replies map[int]chan object
}

func dial(h *hub, token string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + token}}
	return websocket.Dial(ctx, h.url+"/ws", &websocket.DialOptions{HTTPHeader: header})
}

// Connects; `ping` is how often it asks whether the hub is there, and how long it waits for the answer.
func connectPlain(t *testing.T, h *hub, token string, ping time.Duration) *plain {
	conn, _, err := dial(h, token)
	check(t, err)
	// A snapshot may be larger than the 32 KiB that the library takes by default.
	conn.SetReadLimit(1 << 20)
	p := &plain{inbox: newInbox(t), conn: conn, replies: map[int]chan object{}}
	t.Cleanup(func() { conn.CloseNow() })
	go p.read()
	go p.ping(ping)
	return p
}

func (p *plain) read() {
	for {
		var message struct {
			Event string
			ID    int
			Data  object
		}
		if err := wsjson.Read(context.Background(), p.conn, &message); err != nil {
			p.push("closed", object{"code": float64(websocket.CloseStatus(err))})
			return
		}
		if message.Event == "ack" {
			p.mutex.Lock()
			p.replies[message.ID] <- message.Data
			p.mutex.Unlock()
		} else {
			p.push(message.Event, message.Data)
		}
	}
}

// How a dead network is noticed: the library does not do it by itself.
func (p *plain) ping(every time.Duration) {
	for {
		time.Sleep(every)
		ctx, cancel := context.WithTimeout(context.Background(), every)
		err := p.conn.Ping(ctx)
		cancel()
		if err != nil {
			p.conn.CloseNow()
			return
		}
	}
}

func (p *plain) call(event string, data object) object {
	p.t.Helper()
	reply := make(chan object, 1)
	p.mutex.Lock()
	p.nextID++
	id := p.nextID
	p.replies[id] = reply
	p.mutex.Unlock()
	check(p.t, wsjson.Write(context.Background(), p.conn, object{"event": event, "data": data, "id": id}))
	select {
	case data := <-reply:
		return data
	case <-time.After(patience):
		p.t.Fatal("no answer to ", event)
		return nil
	}
}

// Connects as soon as the hub is there.
func reconnect(t *testing.T, h *hub, token string) *plain {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if conn, _, err := dial(h, token); err == nil {
			conn.CloseNow()
			break
		}
	}
	return connectPlain(t, h, token, time.Minute)
}

func TestPlainJoinsHearsAndChats(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connectPlain(t, h, token(t, "ann", "o1", "customer", "1h"), time.Minute)
	driver := connectPlain(t, h, token(t, "dan", "o1", "driver", "1h"), time.Minute)
	equal(t, ann.call("order:join", object{"orderId": "o1"})["ok"], any(true))
	fix := object{"orderId": "o1", "lat": 45.27, "lng": 13.71}
	equal(t, driver.call("driver:location", fix)["accepted"], any(1.0))
	equal(t, ann.take("location:updated")["lat"], any(45.27))
	equal(t, driver.call("chat:message", object{"orderId": "o1", "content": "dveře"})["ok"], any(true))
	ann.hears("dveře")
	refused := ann.call("order:join", object{"orderId": "of-others"})
	equal(t, refused["error"].(object)["code"], any("forbidden"))
}

func TestPlainIsBackAfterARestart(t *testing.T) {
	t.Parallel()
	for signal, code := range map[syscall.Signal]float64{syscall.SIGTERM: 1012, syscall.SIGKILL: -1} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			h := startHub(t)
			key := token(t, "ann", "o1", "customer", "1h")
			ann := connectPlain(t, h, key, time.Minute)
			ann.call("order:join", object{"orderId": "o1"})
			ann.call("chat:message", object{"orderId": "o1", "content": "one"})
			h.restart(signal)
			equal(t, ann.take("closed")["code"], any(code))
			bob := reconnect(t, h, token(t, "bob", "o1", "customer", "1h"))
			bob.call("chat:message", object{"orderId": "o1", "content": "two"})
			ann = reconnect(t, h, key)
			room := ann.call("order:join", object{"orderId": "o1", "sinceSeq": 1})
			equal(t, room["recovered"], any(true))
			equal(t, len(room["messages"].([]any)), 1)
		})
	}
}

func TestPlainTokenEndsOrIsRefused(t *testing.T) {
	t.Parallel()
	h := startHub(t, "JWT_LEEWAY_SECS=0")
	old := token(t, "ann", "o1", "customer", "10s")
	ann := connectPlain(t, h, old, time.Minute)
	equal(t, ann.take("session:end")["reason"], any("token_expired"))
	equal(t, ann.take("closed")["code"], any(4401.0))
	_, answer, err := dial(h, old)
	if err == nil || answer == nil {
		t.Fatal("expected a refusal, have ", err)
	}
	equal(t, answer.StatusCode, 401)
	var problem struct{ Code string }
	check(t, json.NewDecoder(answer.Body).Decode(&problem))
	equal(t, problem.Code, "token_expired")
}

func TestPlainNoticesADeadNetworkByItsPings(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connectPlain(t, h, token(t, "ann", "o1", "customer", "1h"), time.Second)
	ann.take("connected")
	// It answers nothing, and ends nothing.
	check(t, h.process.Process.Signal(syscall.SIGSTOP))
	equal(t, ann.take("closed")["code"], any(-1.0))
}

func TestPlainASnapshotIsLargerThanTheDefaultReadLimit(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	key := token(t, "ann", "o1", "customer", "1h")
	ann := connectPlain(t, h, key, time.Minute)
	for i := range 9 {
		content := fmt.Sprint(i, strings.Repeat("x", 3_990))
		equal(t, ann.call("chat:message", object{"orderId": "o1", "content": content})["ok"], any(true))
	}
	room := ann.call("order:join", object{"orderId": "o1"})
	equal(t, len(room["messages"].([]any)), 9)

	conn, _, err := dial(h, key)
	check(t, err)
	defer conn.CloseNow()
	check(t, wsjson.Write(context.Background(), conn, object{"event": "order:join", "data": object{"orderId": "o1"}}))
	for err == nil {
		var message object
		err = wsjson.Read(context.Background(), conn, &message)
	}
	if !strings.Contains(err.Error(), "read limited at 32769 bytes") {
		t.Fatal(err)
	}
}
