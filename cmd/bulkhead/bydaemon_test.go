package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
)

// answers is a daemon that answers each path with a text, and remembers what it was asked.
type answers struct {
	texts map[string]string
	asked []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	a.asked = append(a.asked, r.Method+" "+r.URL.Path+" "+string(body))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(a.texts[r.URL.Path]))}, err
}

// What is on trial through a daemon is confirmed by a yes, and taken back by anything
// else: who was locked out cannot answer. With --yes nobody is asked, and it waits.
func TestTrialThroughADaemon(t *testing.T) {
	for _, c := range []struct {
		answer string
		yes    bool
		asked  string // of the daemon
		done   bool
		code   int
		says   string
	}{
		{"yes\n", false, `POST /v1/confirm {"apply":"a1"}`, true, 0, "is it to stay?"},
		{"no\n", false, `POST /v1/take-back {"apply":"a1"}`, false, exitRefused, "apply a1: undone"},
		{"", false, `POST /v1/take-back {"apply":"a1"}`, false, exitRefused, "apply a1: undone"},
		{"", true, "", false, 0, "`bulkhead confirm` makes it permanent"},
	} {
		var said bytes.Buffer
		srv := &answers{texts: map[string]string{"/v1/confirm": `{"apply": {"id": "a1", "state": "confirmed"}}`, "/v1/take-back": `{"apply": {"id": "a1", "state": "undone"}}`}}
		a := &app{stdio: stdio{in: strings.NewReader(c.answer), out: io.Discard, err: &said}}
		d := &client{http: &http.Client{Transport: srv}, err: io.Discard}
		p := &daemon.PassAnswer{Result: controller.OnTrial, Apply: "a1", Until: time.Now().Add(time.Minute)}
		done, err := a.trialByDaemon(context.Background(), d, p, applyOptions{yes: c.yes})
		code := 0
		var coded *codedError
		if errors.As(err, &coded) {
			code = coded.code
		} else if err != nil {
			t.Errorf("%q: %v", c.answer, err)
		}
		if got := strings.Join(srv.asked, "; "); got != c.asked || done != c.done || code != c.code || !strings.Contains(said.String(), c.says) {
			t.Errorf("%q, --yes %v: asked %q, done %v, exit code %d, said %q", c.answer, c.yes, got, done, code, said.String())
		}
	}
}
