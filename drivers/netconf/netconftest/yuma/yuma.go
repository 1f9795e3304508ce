package yuma

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

//go:embed ietf-access-control-list.yang
var module []byte

// Where Debian puts them.
const (
	netconfd  = "/usr/sbin/netconfd"
	subsystem = "/usr/sbin/netconf-subsystem"
	sshd      = "/usr/sbin/sshd"
	models    = "/usr/share/yuma/nmda-modules:/usr/share/yuma/modules"
)

// patience bounds a start and an end.
const patience = 2 * time.Minute

// Options say how the server runs.
type Options struct {
	// Running is the configuration that it starts with: what a config element holds.
	Running string
	// Superuser is who may do everything; "" is root, who is the one that logs in.
	Superuser string
	// Startup makes what it starts with a datastore; without, each commit that is
	// confirmed is written there.
	Startup bool
	// Args are more arguments for netconfd.
	Args []string
}

// Server is netconfd, and sshd before it.
type Server struct {
	o        Options
	dir      string
	listener net.Listener
	key      string // that logs in, in PEM
	host     ssh.PublicKey
	routines sync.WaitGroup

	mu     sync.Mutex
	daemon *process // nil while it is stopped
	logins map[*process]net.Conn
	closed bool
}

// process is a program that runs, or has.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func launch(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end waits for the end, and kills what does not come to it.
func (p *process) end(within time.Duration) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.cmd.Process.Kill()
		<-p.done
	}
}

// Interfaces is the configuration of Ethernet interfaces of these names.
func Interfaces(names ...string) string {
	var b strings.Builder
	b.WriteString(`<interfaces xmlns="urn:ietf:params:xml:ns:yang:ietf-interfaces">`)
	for _, n := range names {
		b.WriteString(`<interface><name>`)
		xml.EscapeText(&b, []byte(n))
		b.WriteString(`</name><type xmlns:ianaift="urn:ietf:params:xml:ns:yang:iana-if-type">ianaift:ethernetCsmacd</type></interface>`)
	}
	b.WriteString(`</interfaces>`)
	return b.String()
}

// Start starts a server and waits until it answers.
func Start(o Options) (*Server, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("netconfd behind sshd needs root")
	}
	for _, path := range []string{netconfd, subsystem, sshd} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w; scripts/install-test-deps.sh installs it", err)
		}
	}
	dir, err := os.MkdirTemp("", "netconfd-")
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, dir: dir, logins: map[*process]net.Conn{}}
	if err := s.prepare(); err != nil {
		s.Close()
		return nil, err
	}
	s.routines.Go(s.accept)
	if err := s.Restart(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// prepare writes keys and settings, and listens.
func (s *Server) prepare() error {
	// sshd's directory for separating privileges; without systemd nobody makes it.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	var err error
	if s.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return err
	}
	host, hostKey, err := newKey()
	if err != nil {
		return err
	}
	user, userKey, err := newKey()
	if err != nil {
		return err
	}
	s.host, s.key = host, userKey
	startup := `<nc:config xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0">` + s.o.Running + `</nc:config>` + "\n"
	pam := "no"
	if locked() {
		pam = "yes" // sshd refuses accounts that are locked, unless PAM decides
	}
	settings := []string{
		"HostKey " + s.path("host_key"), "AuthorizedKeysFile " + s.path("authorized_keys"),
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		"UsePAM " + pam, "StrictModes no", "AllowTcpForwarding no", "X11Forwarding no", "AllowAgentForwarding no",
		"PermitTTY no", "PrintMotd no", "LoginGraceTime 0", "LogLevel VERBOSE",
		// netconfd takes only clients that come by the port that it was told.
		fmt.Sprintf("Subsystem netconf \"%s --ncxserver-sockname=%d@%s\"", subsystem, s.port(), s.path("ncx.sock")),
	}
	for name, b := range map[string][]byte{
		"host_key": []byte(hostKey), "authorized_keys": ssh.MarshalAuthorizedKey(user), "startup.xml": []byte(startup),
		"sshd_config": []byte(strings.Join(settings, "\n") + "\n"), "ietf-access-control-list.yang": module,
	} {
		if err := os.WriteFile(s.path(name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// newKey makes a key; the private half is in PEM.
func newKey() (ssh.PublicKey, string, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, "", err
	}
	public, err := ssh.NewPublicKey(private.Public())
	return public, string(pem.EncodeToMemory(block)), err
}

// locked reports whether root's account is locked.
func locked() bool {
	b, err := os.ReadFile("/etc/shadow")
	return err == nil && (bytes.HasPrefix(b, []byte("root:!")) || bytes.Contains(b, []byte("\nroot:!")))
}

func (s *Server) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Address is where to dial.
func (s *Server) Address() string { return s.listener.Addr().String() }

// User is who logs in.
func (s *Server) User() string { return "root" }

// Key is the user's private key, in PEM.
func (s *Server) Key() string { return s.key }

// KnownHost is the line of a file of host keys that lets a client trust the server.
func (s *Server) KnownHost() string {
	return knownhosts.Line([]string{s.Address()}, s.host) + "\n"
}

// Saved is the file that a restart begins with.
func (s *Server) Saved() (string, error) {
	b, err := os.ReadFile(s.path("startup.xml"))
	return string(b), err
}

// Log is what netconfd and sshd have logged.
func (s *Server) Log() string {
	var out strings.Builder
	for _, name := range []string{"netconfd.log", "netconfd.out", "sshd.log"} {
		b, err := os.ReadFile(s.path(name))
		if err == nil {
			fmt.Fprintf(&out, "%s:\n%s\n", name, b)
		}
	}
	return out.String()
}

// Restart starts netconfd, after Stop or Kill where it runs, with what was saved.
func (s *Server) Restart() error {
	s.Stop()
	os.Remove(s.path("ncx.sock"))
	out, err := os.OpenFile(s.path("netconfd.out"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	superuser := s.o.Superuser
	if superuser == "" {
		superuser = "root"
	}
	cmd := exec.Command(netconfd, append([]string{
		"--modpath=" + s.dir + ":" + models, "--module=ietf-access-control-list", "--module=iana-if-type", "--module=ietf-interfaces",
		"--ncxserver-sockname=" + s.path("ncx.sock"), "--port=" + strconv.Itoa(s.port()), "--target=candidate", "--with-startup=" + strconv.FormatBool(s.o.Startup),
		"--with-validate=true", "--startup=" + s.path("startup.xml"), "--superuser=" + superuser, "--access-control=enforcing",
		"--log-level=info", "--log=" + s.path("netconfd.log"), "--audit-log=" + s.path("audit.log"),
	}, s.o.Args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	cmd.Env = append(os.Environ(), "HOME="+s.dir)
	p, err := launch(cmd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.daemon = p
	s.mu.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", s.path("ncx.sock")); err == nil {
			c.Close()
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("netconfd ended: %v\n%s", cmd.ProcessState, s.Log())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("netconfd does not listen\n%s", s.Log())
		}
	}
}

// signal sends a signal to netconfd; nil is returned if it does not run.
func (s *Server) signal(sig syscall.Signal) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemon != nil {
		s.daemon.cmd.Process.Signal(sig)
	}
	return s.daemon
}

func (s *Server) ended() {
	s.mu.Lock()
	s.daemon = nil
	s.mu.Unlock()
}

// Stop ends netconfd as a shutdown would. sshd goes on.
func (s *Server) Stop() {
	s.signal(syscall.SIGCONT)
	if p := s.signal(syscall.SIGTERM); p != nil {
		p.end(10 * time.Second)
		s.ended()
	}
}

// Kill ends netconfd as a power cut would.
func (s *Server) Kill() {
	if p := s.signal(syscall.SIGKILL); p != nil {
		<-p.done
		s.ended()
	}
}

// Freeze stops netconfd where it is; Thaw lets it go on.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// Close ends everything and takes the directory away.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	logins := map[*process]net.Conn{}
	for p, c := range s.logins {
		logins[p] = c
	}
	s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	s.Kill()
	for _, c := range logins {
		c.Close() // what sshd has is another descriptor of it
	}
	for p := range logins {
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.end(5 * time.Second)
	}
	s.routines.Wait()
	os.RemoveAll(s.dir)
}

// accept hands each connection to an sshd.
func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if err := s.login(c); err != nil {
			c.Close()
		}
	}
}

func (s *Server) login(c net.Conn) error {
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer f.Close()
	log, err := os.OpenFile(s.path("sshd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(sshd, "-i", "-e", "-f", s.path("sshd_config"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, log
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	p, err := launch(cmd)
	if err != nil {
		return err
	}
	s.logins[p] = c
	s.routines.Go(func() {
		<-p.done
		c.Close()
		s.mu.Lock()
		delete(s.logins, p)
		s.mu.Unlock()
	})
	return nil
}
