package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/diag"
)

// client speaks to a running daemon.
type client struct {
	http *http.Client
	path string
	err  io.Writer // for what an answer says beside
}

// daemon finds the daemon of the site; nil if none runs.
func (a *app) daemon() (*client, error) {
	cfg, diags := a.config()
	if diags.HasErrors() && (cfg.Settings.Name == "" || cfg.Settings.Name == config.DefaultName) {
		return nil, nil // the mistakes are said by whoever loads the site
	}
	path, err := a.socketPath("", cfg.Settings.Name)
	if err != nil || path == "" {
		return nil, err
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", path)
	}
	probe, err := dial(context.Background())
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("a daemon runs, and you may not speak to it: %w", err)
		}
		return nil, nil // nobody is there, or what a dead one left
	}
	probe.Close()
	return &client{http: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}}, path: path, err: a.err}, nil
}

// call makes one call; in may be nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bulkhead"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the daemon at %s: %w", c.path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("cannot read the daemon's answer: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return json.Unmarshal(b, out)
	}
	var e struct {
		Error string `json:"error"`
		Code  string `json:"code"`
		daemon.Noted
	}
	if json.Unmarshal(b, &e) != nil || e.Error == "" {
		e.Error = resp.Status
	}
	fmt.Fprint(c.err, e.Notes)
	err = fmt.Errorf("%s", diag.Safe(e.Error))
	switch e.Code {
	case daemon.CodeNothingOnTrial:
		err = nothingOnTrial(apply.ErrNothingOnTrial)
	case daemon.CodeBadSite:
		err = fmt.Errorf("%w: %s", errBadSite, diag.Safe(e.Error))
	}
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return withCode(exitRefused, &notAllowed{err})
	case http.StatusConflict:
		return withCode(exitRefused, err)
	case http.StatusBadGateway:
		return withCode(exitPartial, err)
	}
	return err
}

// errBadSite says that the daemon does not use the site directory as it is.
var errBadSite = errors.New("the daemon keeps what was in force")

// notAllowed is a call that the daemon refused for who made it.
type notAllowed struct{ error }

func pathOf(parts ...string) string {
	out := "/v1"
	for _, p := range parts {
		out += "/" + url.PathEscape(p)
	}
	return out
}
