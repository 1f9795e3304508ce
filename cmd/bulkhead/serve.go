package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/pkg/daemon"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

type serveOptions struct {
	interval        time.Duration
	socket, group   string
	groupMay        string
	listen          string
	cert, key, toks string
	verbose         bool
}

func (a *app) serveCmd() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "the daemon: keep the devices at what the site says, and answer over an API",
		Long: `Watch the site directory, the sources and the devices; bring the devices to what the
site says within the brakes; put right what others change. Stopping it leaves
enforcement as it is. SIGHUP makes it read everything anew.

The API is on a Unix socket. Over TCP it is served with TLS and tokens alone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.DurationVar(&o.interval, "interval", daemon.DefaultInterval, "how often everything is looked at although nothing was heard")
	f.StringVar(&o.socket, "socket", "", "the Unix socket of the API (default: SITE.sock in the state directory, or BULKHEAD_SOCKET); - is none")
	f.StringVar(&o.group, "socket-group", "", "the group that may use the socket")
	f.StringVar(&o.groupMay, "group-may", "view", "what that group may, separated by commas: view, plan, approve, apply, override, or all")
	f.StringVar(&o.listen, "listen", "", "serve the API over TLS on this address, too")
	f.StringVar(&o.cert, "tls-cert", "", "file with the certificate chain for --listen")
	f.StringVar(&o.key, "tls-key", "", "file with the private key for --listen")
	f.StringVar(&o.toks, "tokens", "", "file with who may call over --listen: a name, the SHA-256 of a token, permissions; a line each")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log every pass")
	return cmd
}

func (a *app) serve(ctx context.Context, o serveOptions) error {
	s, err := a.loaded(ctx, true)
	if err != nil {
		return err
	}
	st, err := a.openState(s, "serve")
	if err != nil {
		return err
	}
	defer st.Close()
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	person, host := who()
	d := daemon.New(daemon.Options{Dir: a.site, Kinds: a.kinds, Store: st, Now: a.now, Log: log, Interval: o.interval}, person+" (daemon)", host)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	servers, err := a.listen(o, s.Config.Settings.Name, d)
	if err != nil {
		return err
	}
	failed := make(chan error, len(servers))
	for _, x := range servers {
		go func() {
			if err := x.run(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("the API on %s ended: %w", x.where, err)
				stop()
			}
		}()
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-hup:
				d.Reload()
			case <-ctx.Done():
				return
			}
		}
	}()
	err = d.Run(ctx)
	for _, x := range servers {
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err = errors.Join(err, x.Shutdown(end))
		cancel()
	}
	select {
	case apiErr := <-failed:
		err = errors.Join(err, apiErr)
	default:
	}
	return err
}

// apiServer is the API at one place.
type apiServer struct {
	*http.Server
	where string
	run   func() error
}

func (a *app) listen(o serveOptions, site string, d *daemon.Daemon) ([]apiServer, error) {
	show := daemon.Show{
		Groups: func(s *reconcile.Site, names []string) (any, error) { return groupRows(s, names) },
		Assets: assetsOf,
		Beside: func(s *reconcile.Site, sources bool) string { return beside(a.site, s, sources) },
		Explain: func(s *reconcile.Site, devices []*reconcile.Device, from, to, service string) (any, error) {
			return explain(s, devices, from, to, service)
		},
	}
	var out []apiServer
	path, err := a.socketPath(o.socket, site)
	if err != nil {
		return nil, err
	}
	if path != "" {
		may, err := daemon.ParsePermissions(o.groupMay)
		if err != nil {
			return nil, fmt.Errorf("--group-may: %w", err)
		}
		l, err := unixSocket(path, o.group)
		if err != nil {
			return nil, err
		}
		peers := daemon.Peers{UID: os.Getuid(), Group: may}
		srv := newServer(d.Handler(show, peers))
		srv.ConnContext = peers.ConnContext
		out = append(out, apiServer{srv, path, func() error { return srv.Serve(l) }})
	}
	if o.listen == "" {
		return out, nil
	}
	if o.cert == "" || o.key == "" || o.toks == "" {
		return nil, fmt.Errorf("--listen needs --tls-cert, --tls-key and --tokens: the API is not served over TCP without them")
	}
	f, err := os.Open(o.toks)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tokens: %w", err)
	}
	defer f.Close()
	tokens, err := daemon.ReadTokens(f)
	if err != nil {
		return nil, fmt.Errorf("the tokens in %q: %w", o.toks, err)
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("cannot load the certificate of the API: %w", err)
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the API on %q: %w", o.listen, err)
	}
	srv := newServer(d.Handler(show, tokens))
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	return append(out, apiServer{srv, o.listen, func() error { return srv.ServeTLS(l, "", "") }}), nil
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
}

// socketPath is where a site's daemon listens; "" for nowhere.
func (a *app) socketPath(flag, site string) (string, error) {
	if flag == "" {
		flag = os.Getenv("BULKHEAD_SOCKET")
	}
	switch flag {
	case "-":
		return "", nil
	case "":
		dir, err := store.Dir(a.state)
		return filepath.Join(dir, site+".sock"), err
	}
	return flag, nil
}

// unixSocket listens where nobody else does. What a dead daemon left is in the way:
// the site's lock is ours, so that no living one is there.
func unixSocket(path, group string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("cannot serve the API on %q: there is something that is no socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot serve the API: %w", err)
	}
	old := syscall.Umask(0o177) // nobody connects before the mode is what it has to be
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the API on %q: %w", path, err)
	}
	if group == "" {
		return l, nil
	}
	g, err := user.LookupGroup(group)
	if err == nil {
		var gid int
		if gid, err = strconv.Atoi(g.Gid); err == nil {
			if err = os.Chown(path, -1, gid); err == nil {
				err = os.Chmod(path, 0o660)
			}
		}
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot let group %q use the API: %w", group, err)
	}
	return l, nil
}
