package netconf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
)

// good is a point's settings that are right; more is put behind them.
const good = "address: 192.0.2.1, user: u, password: {env: P}, known_hosts: /k, dialect: ietf"

// loaded gives what a site's files and its devices are refused for; "" for nothing.
func loaded(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bulkhead.yaml"), []byte("name: t\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, diags, err := reconcile.LoadWith(timed(t), dir, time.Now(), []driver.Kind{netconf.Kind()}, reconcile.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		var out []string
		for _, d := range diags.All() {
			out = append(out, d.Error())
		}
		return strings.Join(out, "\n")
	}
	devices, err := s.Devices(timed(t), true)
	reconcile.Close(devices)
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct{ settings, want string }{
		{good, ""},
		{good + ", key: {file: /id}, passphrase: {credential: c}, agent: /a, switch: s, egress: true, strangers: permit, lists: class, commit: direct, uplinks: swp1, lags: [a=b, c=b], entries_per_list: 10, entries: 100", ""},
		{"address: 192.0.2.1, user: u, agent: /a, known_hosts: /k, dialect: ietf", ""},
		{"user: u, password: {env: P}, known_hosts: /k, dialect: ietf", `needs the setting "address"`},
		{"address: 192.0.2.1, password: {env: P}, known_hosts: /k, dialect: ietf", `needs the setting "user"`},
		{"address: 192.0.2.1, user: u, password: {env: P}, dialect: ietf", `needs the setting "known_hosts"`},
		{"address: 192.0.2.1, user: u, password: {env: P}, known_hosts: /k", `needs the setting "dialect"`},
		{"address: 192.0.2.1, user: u, password: {env: P}, known_hosts: /k, dialect: itf", `unknown value of dialect "itf"`},
		{"address: 192.0.2.1, user: u, password: hunter2, known_hosts: /k, dialect: ietf", `"password" must be {file: PATH}`},
		{"address: 192.0.2.1, user: u, known_hosts: /k, dialect: ietf", "no way to log in"},
		{"address: 192.0.2.1, user: u, password: {env: P}, known_hosts: k, dialect: ietf", `"known_hosts" is "k"; give the whole path`},
		{good + ", agent: a", `"agent" is "a"; give the whole path`},
		{good + ", passphrase: {env: Q}", `"passphrase" is given without "key"`},
		{good + ", egress: 1", `"egress" must be true or false`},
		{good + ", strangers: allow", `unknown value of strangers "allow"`},
		{good + ", lists: ports", `unknown value of lists "ports"`},
		{good + ", commit: now", `unknown value of commit "now"`},
		{good + ", entries: 0", `"entries" must be a whole number`},
		{good + ", entries_per_list: x", `"entries_per_list" must be a whole number`},
		{good + ", lags: [swp1]", `"swp1" in "lags"`},
		{good + ", lags: [swp1=]", `"swp1=" in "lags"`},
		{good + ", lags: [=bond0]", `"=bond0" in "lags"`},
		{good + ", lags: [a=a]", `"a=a" in "lags"`},
		{good + ", lags: [a=b, a=c]", `port "a" is in two aggregates, "b" and "c"`},
		{good + ", lags: [a=b, b=c]", `"b" is a member of "c" itself`},
		{good + ", uplink: swp1", `unknown setting of the driver netconf "uplink"`},
	} {
		got := loaded(t, "points:\n  p: {driver: netconf, protects: 'true', settings: {"+tt.settings+"}}\n")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.settings, got, tt.want)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s: the secret is told: %q", tt.settings, got)
		}
	}
}

func TestPointsOfSwitches(t *testing.T) {
	point := func(name, more string) string {
		return "  " + name + ": {driver: netconf, protects: 'true', " + more + "}\n"
	}
	other := strings.Replace(good, "192.0.2.1", "192.0.2.2", 1)
	withPort := strings.Replace(good, "192.0.2.1", "192.0.2.1:830", 1)
	for _, tt := range []struct{ name, points, want string }{
		{"two switches", point("a", "settings: {"+good+"}") + point("b", "settings: {"+other+"}"), ""},
		{"one switch", point("a", "settings: {"+good+", switch: s}") + point("b", "settings: {"+withPort+", switch: s}"), ""},
		{"two names", point("a", "settings: {"+good+"}") + point("b", "settings: {"+good+"}"), `attachments call "a" and "b"`},
		{"two settings", point("a", "settings: {"+good+", switch: s}") + point("b", "settings: {"+good+", switch: s, egress: true}"), `points "a" and "b" are of one switch, and have different settings`},
		{"two switches of one name", point("a", "settings: {"+good+", switch: s}") + point("b", "settings: {"+other+", switch: s}"), `attachments to "s" mean two devices`},
		{"zones", point("a", "zones: {z: {interfaces: [eth0]}}, settings: {"+good+"}"), "knows no zones"},
		{"netns", point("a", "netns: n, settings: {"+good+"}"), `"netns" is of points of this host`},
	} {
		if got := loaded(t, "points:\n"+tt.points); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Enrolment goes by the settings of the point, and gives what sessions trust.
func TestKindEnrols(t *testing.T) {
	b := newBed(t, "ietf", netconftest.Options{}, nil)
	file := filepath.Join(t.TempDir(), "known")
	set := func(text string) config.Setting { return config.Setting{Text: text} }
	secret := config.NewSecret(config.SecretEnv, "BULKHEAD_TEST_NO_SUCH_PASSWORD")
	p := &config.Point{Name: "p", Driver: "netconf", Settings: map[string]config.Setting{
		"address": set(b.server.Address()), "user": set("admin"), "password": {Secret: &secret}, "known_hosts": set(file), "dialect": set("ietf")}}
	e, err := netconf.Kind().Enrol(timed(t), p) // without the password: it does not log in
	if err != nil || len(e.Known) > 0 || e.File != file || !strings.HasPrefix(e.Fingerprint, "SHA256:") {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := e.Remember(false); err != nil {
		t.Fatal(err)
	}
	if e, err = netconf.Kind().Enrol(timed(t), p); err != nil || len(e.Known) != 1 || e.Known[0] != e.Fingerprint {
		t.Fatalf("%+v, %v", e, err)
	}
}
