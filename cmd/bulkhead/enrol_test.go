package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// sshKind is a kind whose devices have host keys; it does nothing else.
func sshKind() driver.Kind {
	return driver.Kind{
		Name:     "ssh",
		Settings: []config.SettingKey{{Name: "address", Shape: config.ShapeText, Required: true}, {Name: "known_hosts", Shape: config.ShapeText, Required: true}},
		Enrol: func(ctx context.Context, p *config.Point) (*driver.Enrolment, error) {
			address, file := p.Settings["address"].Text, p.Settings["known_hosts"].Text
			known, err := session.Known(file, address)
			if err != nil {
				return nil, err
			}
			fingerprint, line, err := session.Enrol(ctx, session.Options{Address: address})
			if err != nil {
				return nil, err
			}
			return &driver.Enrolment{
				Address: address, Key: strings.Fields(line)[1], Fingerprint: fingerprint, Known: known, File: file,
				Remember: func(replace bool) error {
					_, err := session.Remember(file, address, line, replace)
					return err
				},
			}, nil
		},
	}
}

// A key is enrolled once somebody has compared it, and never instead of another by itself.
func TestEnrol(t *testing.T) {
	srv, err := netconftest.Start(netconftest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "state", "known_hosts")
	site := "points:\n  sw1: {driver: ssh, protects: 'true', settings: {address: '" + srv.Address() + "', known_hosts: '" + file + "'}}\n" +
		"  sw2: {driver: ssh, protects: 'true', settings: {address: '" + srv.Address() + "'}}\n  gw: {driver: nftables, protects: 'true'}\n  old: {driver: telnet, protects: 'true'}\n"
	if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	enrol := func(answer, line string) (int, string) {
		var out bytes.Buffer
		code := runWith(t.Context(), append([]string{"--site", dir, "enrol"}, strings.Fields(line)...), stdio{strings.NewReader(answer), &out, &out}, []driver.Kind{sshKind(), {Name: "nftables"}})
		return code, out.String()
	}
	first := ssh.FingerprintSHA256(srv.HostKey())
	other := "SHA256:" + strings.Repeat("A", 43)
	for _, c := range []struct {
		answer, line string
		code         int
		says         string
		enrolled     bool
	}{
		{"", "sw1", exitRefused, first, false},
		{"y\n", "sw1", exitRefused, "not confirmed", false},
		{"yes\n", "sw1 --fingerprint " + other, exitRefused, "nothing was enrolled", false},
		{"yes\n", "sw1 --fingerprint MD5:00", exitError, "SHA256:", false},
		{"", "sw3", exitError, `did you mean "sw`, false},
		{"", "sw2", exitError, "known_hosts", false},
		{"", "gw", exitError, "no host key", false},
		{"", "old", exitError, "no such driver", false},
		{"yes\n", "sw1", exitDone, "enrolled in " + file, true},
		{"", "sw1", exitDone, "is enrolled", true},
		{"", "sw1 --fingerprint " + first, exitDone, "is enrolled", true},
	} {
		code, out := enrol(c.answer, c.line)
		_, err := os.Stat(file)
		if code != c.code || !strings.Contains(out, c.says) || errors.Is(err, os.ErrNotExist) == c.enrolled {
			t.Errorf("enrol %s: exit code %d (want %d), the file: %v, and it says\n%s", c.line, code, c.code, err, out)
		}
	}
	if err := srv.NewHostKey(); err != nil {
		t.Fatal(err)
	}
	second := ssh.FingerprintSHA256(srv.HostKey())
	if code, out := enrol("yes\n", "sw1 --yes"); code != exitRefused || !strings.Contains(out, first) || !strings.Contains(out, second) {
		t.Errorf("another key: exit code %d\n%s", code, out)
	}
	if code, out := enrol("", "sw1 --replace --fingerprint "+second); code != exitDone {
		t.Errorf("its fingerprint: exit code %d\n%s", code, out)
	}
	os.Remove(file)
	if code, out := enrol("", "sw1 --yes"); code != exitDone || !strings.Contains(out, "nobody compared") {
		t.Errorf("without comparing: exit code %d\n%s", code, out)
	}
	known, err := session.Known(file, srv.Address())
	if err != nil || len(known) != 1 || known[0] != second {
		t.Errorf("enrolled: %q, %v", known, err)
	}
}
