package clients

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

type device struct {
	*inbox
	socket *socket.Socket
	auth   object
}

// On WebSocket alone. By long-polling this client does not work: what it sends waits for the end of its poll, up to 25 s.
func connect(t *testing.T, h *hub, token string) *device {
	d := &device{inbox: newInbox(t), auth: object{"token": token}}
	options := socket.DefaultOptions()
	options.SetAuth(d.auth)
	options.SetTransports(types.NewSet(transports.WebSocket))
	options.SetForceNew(true)
	// An attempt may hang, also one that the hub has refused; after this time it is given up, and the next one begins.
	options.SetTimeout(5 * time.Second)
	options.SetAutoConnect(false)
	var err error
	d.socket, err = socket.Connect(h.url+"/events", options)
	check(t, err)
	t.Cleanup(func() { d.socket.Disconnect() })
	d.socket.On("connect", func(...any) { d.push("connect", nil) })
	d.socket.On("disconnect", func(args ...any) { d.push("disconnect", object{"reason": args[0]}) })
	d.socket.On("connect_error", func(args ...any) {
		// The hub's answer; anything else is the network's, and the client tries again.
		var refused *types.ExtendedError
		if err, _ := args[0].(error); errors.As(err, &refused) {
			d.push("connect_error", refused.Data)
		}
	})
	d.socket.OnAny(func(args ...any) { d.push(args[0].(string), args[1]) })
	d.socket.Connect()
	return d
}

// Sends, and waits for the ack. An ack may be lost with its connection, so it is asked again.
func (d *device) call(event string, data object) object {
	d.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		reply := make(chan object, 1)
		d.socket.Timeout(5*time.Second).EmitWithAck(event, data)(func(args []any, err error) {
			if err != nil {
				args = []any{object(nil)}
			}
			reply <- args[0].(object)
		})
		if reply := <-reply; reply != nil {
			return reply
		}
	}
	d.t.Fatal("no answer to ", event)
	return nil
}

func (d *device) join(order string, sinceSeq int) object {
	d.t.Helper()
	room := d.call("order:join", object{"orderId": order, "sinceSeq": sinceSeq})
	accepted(d.t, room)
	return room
}

func (d *device) say(order, content string) {
	d.t.Helper()
	reply := d.call("chat:message", object{"orderId": order, "content": content, "clientMsgId": content})
	accepted(d.t, reply)
}

func accepted(t *testing.T, reply object) {
	t.Helper()
	if reply["ok"] != true {
		t.Fatal("refused: ", reply)
	}
}

func TestSocketIOJoinsHearsAndChats(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connect(t, h, token(t, "ann", "o1", "customer", "1h"))
	driver := connect(t, h, token(t, "dan", "o1", "driver", "1h"))
	ann.join("o1", 0)
	driver.join("o1", 0)
	equal(t, ann.take("presence:joined")["userId"], any("dan"))
	fix := object{"orderId": "o1", "lat": 45.27, "lng": 13.71}
	equal(t, driver.call("driver:location", fix)["accepted"], any(1.0))
	equal(t, ann.take("location:updated")["lat"], any(45.27))
	driver.say("o1", "dveře")
	ann.hears("dveře")

	refused := ann.call("order:join", object{"orderId": "of-others"})
	equal(t, refused["error"].(object)["code"], any("forbidden"))
	ann.socket.Emit("order:join", object{"orderId": "of-others"})
	equal(t, ann.take("exception")["code"], any("forbidden"))
}

func TestSocketIOIsRecoveredAfterADeploy(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connect(t, h, token(t, "ann", "o1", "customer", "1h"))
	ann.join("o1", 0)
	ann.say("o1", "one")
	ann.hears("one")
	h.restart(syscall.SIGTERM)
	bob := connect(t, h, token(t, "bob", "o1", "customer", "1h"))
	bob.say("o1", "two")
	// It joins nothing anew.
	ann.take("disconnect")
	ann.hears("two")
	equal(t, ann.socket.Recovered(), true)
}

func TestSocketIOIsBackAfterACrash(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connect(t, h, token(t, "ann", "o1", "customer", "1h"))
	ann.take("connect")
	ann.join("o1", 0)
	ann.say("o1", "one")
	h.restart(syscall.SIGKILL)
	bob := connect(t, h, token(t, "bob", "o1", "customer", "1h"))
	bob.say("o1", "two")
	ann.take("connect")
	equal(t, ann.socket.Recovered(), false)
	room := ann.join("o1", 1)
	equal(t, room["recovered"], any(true))
	equal(t, len(room["messages"].([]any)), 1)
	bob.say("o1", "three")
	ann.hears("one", "three")
}

func TestSocketIOTokenEndsAndIsReplaced(t *testing.T) {
	t.Parallel()
	h := startHub(t, "JWT_LEEWAY_SECS=0")
	ann := connect(t, h, token(t, "ann", "o1", "customer", "10s"))
	// When its session has ended it comes back with the old one, and then stays away.
	equal(t, ann.take("connect_error")["code"], any("token_expired"))
	equal(t, ann.socket.Active(), false)
	ann.auth["token"] = token(t, "ann", "o1", "customer", "1h")
	ann.socket.Connect()
	ann.join("o1", 0)
}

func TestSocketIORemovedByAnAdminItStaysAway(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	ann := connect(t, h, token(t, "ann", "o1", "customer", "1h"))
	ann.join("o1", 0)
	h.http("DELETE", "/admin/v1/users/ann/sessions", token(t, "ops", "o1", "admin", "1h"), "")
	// It hears packets and the end of the connection on two goroutines: `session:end` may come late or never,
	// and a "transport close" before the DISCONNECT.
	for ann.take("disconnect")["reason"] != any("io server disconnect") {
	}
	equal(t, ann.socket.Active(), false)
}
