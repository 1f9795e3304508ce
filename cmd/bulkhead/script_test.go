package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"bulkhead/drivers"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// noRaces runs the tests, and fails where the race detector found something in a
// process that they started: many are meant to fail, or are killed, and their exit
// codes and what they print say nothing of it.
type noRaces struct{ *testing.M }

func (m noRaces) Run() int {
	dir, err := os.MkdirTemp("", "bulkhead-races-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// By itself the detector keeps each process for a second after its end, hundreds of
	// them here. What the process does then no race can be in: it does nothing.
	os.Setenv("GORACE", "atexit_sleep_ms=0 log_path="+dir+"/race")
	code := m.M.Run()
	reports, err := filepath.Glob(dir + "/race*")
	for _, name := range reports {
		b, _ := os.ReadFile(name)
		fmt.Fprintf(os.Stderr, "a race in a process that a test started:\n%s\n", b)
	}
	if err != nil || len(reports) > 0 {
		return max(code, 1)
	}
	return code
}

// TestMain lets the test binary be the program: scripts run what users run.
func TestMain(m *testing.M) {
	testscript.Main(noRaces{m}, map[string]func(){
		"bulkhead": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
		},
		// receiver prints the content type of one request, and ends.
		"receiver": func() {
			l, err := net.Listen("tcp", "127.0.0.1:18080")
			if err != nil {
				panic(err)
			}
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				fmt.Println(r.Header.Get("Content-Type"), "content-type", len(body) > 0 && err == nil)
				w.WriteHeader(http.StatusNoContent)
				l.Close()
			}))
			time.Sleep(100 * time.Millisecond) // the answer is on its way
		},
		// bulkhead whose writes to devices go as BULKHEAD_WRITE says.
		"bulkhead-faulty": func() {
			kinds := drivers.Kinds()
			for i := range kinds {
				open := kinds[i].Open
				kinds[i].Open = func(site string, points []config.Point) (driver.Driver, error) {
					d, err := open(site, points)
					if n, err := strconv.Atoi(os.Getenv("BULKHEAD_DIE_AT")); err == nil {
						return &dying{d.(kernelDriver), &n}, nil
					}
					if t, ok := d.(driver.Trier); ok && os.Getenv("BULKHEAD_WRITE") == "die on trial" {
						return &faultyTrier{faulty{d}, t}, err
					}
					return &faulty{d}, err
				}
			}
			os.Exit(runWith(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}, kinds))
		},
	})
}

// faulty is a device that something happens at while it is written to.
type faulty struct{ driver.Driver }

// kernelDriver is all that the driver of nftables can do.
type kernelDriver interface {
	driver.Driver
	driver.Trier
}

// dying is a device whose controller is killed when it has been spoken to so many
// times: each call counts when it begins and when it ends.
type dying struct {
	kernelDriver
	left *int
}

func (d *dying) step() {
	if *d.left--; *d.left == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
}

func (d *dying) Read(ctx context.Context) (driver.State, error) {
	d.step()
	defer d.step()
	return d.kernelDriver.Read(ctx)
}

func (d *dying) Try(ctx context.Context, c *driver.Change, timeout time.Duration) error {
	d.step()
	defer d.step()
	return d.kernelDriver.Try(ctx, c, timeout)
}

func (d *dying) Confirm(ctx context.Context, meant driver.State) error {
	d.step()
	defer d.step()
	return d.kernelDriver.Confirm(ctx, meant)
}

// faultyTrier is one that can hold changes on trial.
type faultyTrier struct {
	faulty
	driver.Trier
}

func (f *faultyTrier) Try(ctx context.Context, c *driver.Change, timeout time.Duration) error {
	err := f.Trier.Try(ctx, c, timeout)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	return err
}

func (f *faulty) Apply(ctx context.Context, c *driver.Change) error {
	what := os.Getenv("BULKHEAD_WRITE")
	switch what {
	case "die before":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "fail":
		return errors.New("the device hung up")
	case "wait": // says that it is here, and goes on when it is told
		if err := os.WriteFile("waiting", nil, 0o600); err != nil {
			return err
		}
		for {
			if _, err := os.Stat("go"); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "lose state": // whatever is written to the state from now on fails
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			return err
		}
		signal.Ignore(syscall.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: old.Max}); err != nil {
			return err
		}
	}
	err := f.Driver.Apply(ctx, c)
	if what == "die after" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return err
}

// Every command, as an operator types it. Scripts that change a firewall do so
// in a network namespace of their own, by unshare.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
			return nil
		},
	})
}
