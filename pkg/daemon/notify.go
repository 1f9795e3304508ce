package daemon

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifier speaks sd_notify(3) to systemd: datagrams of NAME=value lines to the
// socket in NOTIFY_SOCKET. Without one it does nothing.
type notifier struct{ addr string }

func newNotifier() notifier { return notifier{os.Getenv("NOTIFY_SOCKET")} }

// send tells of a state. That nobody listens is no error of ours.
func (n notifier) send(lines ...string) {
	if n.addr == "" {
		return
	}
	name := n.addr
	if strings.HasPrefix(name, "@") { // the abstract namespace
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(strings.Join(lines, "\n")))
}

func (n notifier) ready()             { n.send("READY=1") }
func (n notifier) stopping()          { n.send("STOPPING=1") }
func (n notifier) status(text string) { n.send("STATUS=" + strings.ReplaceAll(text, "\n", " ")) }
func (n notifier) alive()             { n.send("WATCHDOG=1") }

// reloading begins a reload; ready ends it. systemd wants to know when it began, by
// the monotonic clock (Type=notify-reload).
func (n notifier) reloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return
	}
	n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000))
}

// watchdog is how often alive has to be called; 0 is never. It is half of what
// systemd waits (WATCHDOG_USEC), as sd_watchdog_enabled(3) advises.
func watchdog() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}
