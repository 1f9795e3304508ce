package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"

	"bulkhead/pkg/daemon"
	"bulkhead/pkg/diag"
)

// reader finds the daemon that a reading command asks: what it shows is in force, and a
// large site is not worked out a second time. nil is none, and the command works alone;
// why is said where there is one.
func (a *app) reader(ctx context.Context) *client {
	d, err := a.daemon()
	if err != nil {
		a.alone(err)
		return nil
	}
	if d == nil {
		return nil
	}
	var st daemon.StatusAnswer
	if err := d.call(ctx, "GET", pathOf("status"), nil, &st); err != nil {
		a.alone(err)
		return nil
	}
	if !sameDir(st.Directory, a.site) {
		a.alone(otherDir(&st, a.site))
		return nil
	}
	return d
}

func (a *app) alone(why error) {
	fmt.Fprintf(a.err, "working without the daemon: %s\n", diag.Safe(why.Error()))
}

func otherDir(st *daemon.StatusAnswer, dir string) error {
	return fmt.Errorf("that of site %q works from %q, and not from %q", st.Site, st.Directory, dir)
}

func sameDir(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// answered has a daemon answer a reading command into out, and prints what such an
// answer says beside. false means that the command has to work alone.
func (a *app) answered(ctx context.Context, d *client, path string, query url.Values, out any) (bool, error) {
	if d == nil {
		return false, nil
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var body json.RawMessage
	err := d.call(ctx, "GET", path, nil, &body)
	var no *notAllowed
	if errors.As(err, &no) {
		a.alone(err)
		return false, nil
	}
	var beside daemon.Noted
	if err == nil {
		err = errors.Join(json.Unmarshal(body, out), json.Unmarshal(body, &beside))
	}
	fmt.Fprint(a.err, beside.Notes)
	return true, err
}
