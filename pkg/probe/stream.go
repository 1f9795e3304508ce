package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"bulkhead/pkg/config"
)

// connect opens a TCP connection and closes it again.
func connect(ctx context.Context, to netip.AddrPort, timeout time.Duration) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return explain(ctx, err, timeout)
	}
	return c.Close()
}

// maxRedirects bounds redirects where a probe follows them.
const maxRedirects = 5

// get asks for a URL. Only the status counts: the body is not read, so that one that
// never ends fails no probe. A name with several addresses passes by any of them.
func get(ctx context.Context, p *config.HTTPProbe, roots *x509.CertPool, timeout time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "bulkhead-probe")
	// A connection of its own each time: one that was kept would pass through a
	// firewall as an old flow, and say nothing of new ones.
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if !p.Follow {
			return http.ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return nil
	}}
	resp, err := c.Do(req)
	if err != nil {
		return explain(ctx, err, timeout)
	}
	defer resp.Body.Close()
	if resp.StatusCode == p.Status {
		return nil
	}
	hint := ""
	if loc := resp.Header.Get("Location"); loc != "" && resp.StatusCode/100 == 3 {
		hint = fmt.Sprintf(", a redirect to %q: probe that, or say `follow: true`", loc)
	}
	return fmt.Errorf("status %d instead of %d%s", resp.StatusCode, p.Status, hint)
}

// explain says of a time that ran out what it usually means.
func explain(ctx context.Context, err error, timeout time.Duration) error {
	var ne net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("interrupted: %w", err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return fmt.Errorf("no answer within %s: nobody is there, or something on the way drops it (%w)", timeout, err)
	}
	return err
}
