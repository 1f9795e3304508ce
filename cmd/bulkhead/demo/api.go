package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// status is what the demo looks at of a daemon's answer to GET /v1/status.
type status struct {
	Result  string            `json:"result"`
	At      time.Time         `json:"at"`
	Trouble map[string]string `json:"trouble"`
}

// status asks the daemon over its socket, which needs no network.
func (d *demo) status(ctx context.Context) (s status, err error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.dir, "state", "plant.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bulkhead/v1/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}
