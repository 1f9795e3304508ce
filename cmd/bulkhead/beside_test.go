package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// besideRoot is where scripts/install-test-deps.sh has laid out other firewalls.
const besideRoot = "/var/lib/bulkhead-tests/root"

// machine makes the gateway one on which those firewalls are installed, for the
// processes that it starts: the files of their packages lie over this machine's, what
// they write goes nowhere, and nothing of theirs outlives the test.
const machine = `
mount -t tmpfs machine machine
for d in usr etc; do
	mkdir -p machine/$d/up machine/$d/work
	mount -t overlay machine -o lowerdir=%s/$d:/$d,upperdir=machine/$d/up,workdir=machine/$d/work /$d
done
mount -t tmpfs run /run
cd /
eval "$1"
`

// neighbour is another firewall that runs on the gateway.
type neighbour struct {
	s   *street
	pid int // of its first process
}

// beside starts another firewall; the script has to end in what keeps running.
func (s *street) beside(script string) *neighbour {
	s.t.Helper()
	if _, err := os.Stat(besideRoot); err != nil {
		s.t.Fatalf("the other firewalls are not there, run scripts/install-test-deps.sh: %v", err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "machine"), 0o700); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-euc", fmt.Sprintf(machine, besideRoot), "sh", script)
	s.background(cmd, "neighbour.log")
	n := &neighbour{s: s}
	s.until("the neighbour's machine is there", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		_, err := fmt.Sscan(string(b), &n.pid)
		return err == nil
	})
	return n
}

// run runs a command on the neighbour's machine.
func (n *neighbour) run(args ...string) (string, int) {
	pid := fmt.Sprint(n.pid)
	all := append([]string{"nsenter", "--target", pid, "--mount", "--pid", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus"}, args...)
	return n.s.run(nil, all...)
}

func (n *neighbour) must(args ...string) string {
	n.s.t.Helper()
	out, code := n.run(args...)
	if code != 0 {
		n.s.t.Fatalf("%q: exit code %d\n%s", args, code, out)
	}
	return out
}

// own is our table as the kernel holds it, without what it counts and notes.
func (s *street) own() string {
	s.t.Helper()
	out := s.must("nft", "--stateless", "--terse", "list", "table", "inet", "bulkhead_t")
	for _, m := range []string{"host4", "host6", "svc", "pair"} {
		text, _ := s.run(nil, "nft", "--stateless", "list", "map", "inet", "bulkhead_t", m)
		out += text
	}
	return out
}

// notProved wants verify to name what is on our path, and prints what it names.
func (s *street) notProved(when string, want ...string) {
	s.t.Helper()
	out, code := s.run(nil, "bulkhead", "verify")
	if code != 2 {
		s.t.Errorf("%s: verify ends with %d\n%s", when, code, out)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out) {
			s.t.Errorf("%s: verify does not name %q:\n%s", when, w, out)
		}
	}
	s.t.Logf("%s:\n%s", when, out)
}

// accepts has the site accept what others' tables may drop, and wants the point proved
// but for that, and changes carried out again.
func (s *street) accepts(when string, tables ...string) {
	s.t.Helper()
	s.write("bulkhead.yaml", strings.Replace(streetSettings, "    zones:\n", fmt.Sprintf("    accept_foreign: [%s]\n    zones:\n", strings.Join(tables, ", ")), 1))
	var out string
	s.until(when+": the point is proved", func() (ok bool) {
		var code int
		out, code = s.run(nil, "bulkhead", "verify")
		return code == 0
	})
	if !strings.Contains(out, "table "+tables[0]+" may drop besides") {
		s.t.Errorf("%s: verify does not say what is accepted:\n%s", when, out)
	}
	before := s.own()
	s.write("policy.yaml", streetPolicy(1))
	s.until(when+": a change is carried out", func() bool {
		a := s.status()
		return a != nil && a.Result == "in sync" && len(a.Trouble) == 0 && s.own() != before
	})
	s.t.Logf("%s: accepted, and changed:\n%s", when, s.must("bulkhead", "verify"))
}

// phase is a time in which something was done, and what that may do to what policy
// permits.
type phase struct {
	what     string
	from, to time.Time
	always   string // "passes", "dropped", or "" for either
}

// phases does things under a stream, and holds it against them: what policy denies
// never passes.
type phases struct {
	s    *street
	tr   *traffic
	list []phase
}

func (p *phases) do(what, always string, f func()) {
	x := phase{what: what, from: time.Now(), always: always}
	f()
	x.to = time.Now()
	p.list = append(p.list, x)
}

// rest is a phase in which nothing is done.
func (p *phases) rest(what, always string) {
	time.Sleep(20 * time.Millisecond)
	p.do(what, always, func() { time.Sleep(300 * time.Millisecond) })
}

func (p *phases) end() {
	t := p.s.t
	t.Helper()
	p.tr.stop()
	from, to := p.tr.all()
	if sent, got := p.tr.count(never, from, to); len(got) > 0 || sent == 0 {
		t.Errorf("of %d packets that policy denies %d arrived", sent, len(got))
	}
	for _, x := range p.list {
		sent, got := p.tr.count(always, x.from, x.to)
		t.Logf("%-50s %5d ms: of %d packets that policy permits %d arrived", x.what, x.to.Sub(x.from).Milliseconds(), sent, len(got))
		if want, ok := map[string]int{"passes": sent, "dropped": 0}[x.always]; ok && len(got) != want || sent == 0 {
			t.Errorf("%s: of %d packets that policy permits %d arrived; they should be %s", x.what, sent, len(got), x.always)
		}
	}
}

// enforced is a street with rules in force, its daemon, a live flow, and a stream.
func enforced(t *testing.T) (*street, *phases, *lab.Flow) {
	t.Helper()
	s := newStreet(t)
	s.serve("--interval", "1h")
	s.inSync()
	time.Sleep(time.Second) // the daemon remembers what it can put back
	return s, &phases{s: s, tr: s.send()}, s.flow(lab.FlowSpec{Port: 6000})
}

// putBack takes our table away; the daemon puts it back although others' rules keep it
// from being proved.
func (p *phases) putBack() {
	p.s.t.Helper()
	before := p.s.own()
	p.tr.stop() // until it is back everything passes that the neighbour lets pass
	p.s.must("nft", "delete", "table", "inet", "bulkhead_t")
	begin := time.Now()
	p.s.until("our table is back", func() bool { _, code := p.s.run(nil, "nft", "list", "table", "inet", "bulkhead_t"); return code == 0 })
	p.s.t.Logf("our table was gone, and is back after %d ms", time.Since(begin).Milliseconds())
	if after := p.s.own(); after != before {
		p.s.t.Errorf("our table is back and another one:\n%s\nbefore:\n%s", after, before)
	}
	p.tr = p.s.send()
}

const firewalld = `
printf '<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>' > /run/bus.conf
dbus-daemon --config-file=/run/bus.conf --nofork &
while [ ! -S /run/bus ]; do sleep 0.05; done
mkdir -p /etc/firewalld/zones
printf '<zone target="ACCEPT"><interface name="eth1"/><interface name="eth2"/></zone>' > /etc/firewalld/zones/trusted.xml
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
exec /usr/bin/python3 /usr/sbin/firewalld --nofork --nopid --log-target console
`

// firewalld starts, reloads and ends beside us, with the interfaces in its zone that
// lets everything pass. While it reloads it drops new flows itself.
func TestBesideFirewalld(t *testing.T) {
	s, p, live := enforced(t)
	p.rest("alone", "passes")
	var fw *neighbour
	p.do("firewalld starts", "", func() {
		fw = s.beside(firewalld)
		s.until("firewalld runs", func() bool { _, code := fw.run("firewall-cmd", "--state"); return code == 0 })
	})
	p.rest("beside firewalld", "passes")
	s.notProved("beside firewalld", `not proved: table inet firewalld chain filter_FORWARD .* may reject packets`)
	p.do("the site accepts firewalld, and changes", "passes", func() { s.accepts("beside firewalld", "inet firewalld") })
	own := s.own()
	p.do("firewall-cmd --reload", "", func() { fw.must("firewall-cmd", "--reload") })
	p.rest("after the reload", "passes")
	p.do("firewall-cmd --complete-reload", "", func() { fw.must("firewall-cmd", "--complete-reload") })
	p.rest("after the complete reload", "passes")
	fw.must("firewall-cmd", "--zone=public", "--change-interface=eth1")
	p.rest("eth1 is in firewalld's zone public", "dropped")
	fw.must("firewall-cmd", "--zone=trusted", "--change-interface=eth1")
	p.rest("eth1 is in zone trusted again", "passes")
	s.lives(live, "beside firewalld")
	if now := s.own(); now != own {
		t.Errorf("our table is another one:\n%s\nbefore:\n%s", now, own)
	}
	p.end()
	p.list = nil
	p.tr = s.send()
	p.putBack()
	p.do("firewalld ends", "", func() {
		_ = syscall.Kill(fw.pid, syscall.SIGTERM)
		s.until("firewalld's table is gone", func() bool { _, code := s.run(nil, "nft", "list", "table", "inet", "firewalld"); return code != 0 })
	})
	p.rest("alone again", "passes")
	p.end()
	if out, code := s.run(nil, "bulkhead", "verify"); code != 0 {
		t.Errorf("alone again, verify ends with %d\n%s", code, out)
	}
}

// Docker starts beside us. Where it finds forwarding switched on it takes nothing away.
// Where it has to switch it on, it sets the policy of IPv4's forward chain to drop: nothing
// more is forwarded, whoever permits it, but what its own chain for users accepts; and
// that is not lost when it starts anew.
func TestBesideDocker(t *testing.T) {
	s, p, live := enforced(t)
	p.rest("alone", "passes")
	var docker *neighbour
	up := func() bool {
		_, code := docker.run("curl", "-sf", "--unix-socket", "/run/docker.sock", "http://docker/_ping")
		return code == 0
	}
	anew := func() {
		before := strings.TrimSpace(docker.must("cat", "/run/docker.pid"))
		docker.must("kill", before)
		s.until("docker answers again", func() bool {
			now, code := docker.run("cat", "/run/docker.pid")
			return code == 0 && strings.TrimSpace(now) != before && up()
		})
	}
	p.do("docker starts, with forwarding on", "passes", func() {
		docker = s.beside("while :; do dockerd --data-root /run/docker-data -H unix:///run/docker.sock --storage-driver vfs --pidfile /run/docker.pid || true; done")
		s.until("docker answers", up)
	})
	p.rest("beside docker", "passes")
	s.notProved("beside docker", `not proved: table ip filter chain DOCKER-ISOLATION-STAGE-2 .* may drop packets`)
	p.do("the site accepts docker, and changes", "passes", func() { s.accepts("beside docker", "ip filter", "ip6 filter") })
	own := s.own()
	s.must("sysctl", "-qw", "net.ipv4.ip_forward=0")
	p.do("docker starts anew, with forwarding off", "", anew)
	p.rest("its policy is drop", "") // of IPv4, see below
	policy := p.list[len(p.list)-1]
	docker.must("iptables", "-I", "DOCKER-USER", "-i", "eth+", "-o", "eth+", "-j", "ACCEPT")
	p.rest("DOCKER-USER accepts", "passes")
	p.do("docker starts anew", "", anew) // it writes its chains anew under its own policy
	p.rest("after that", "passes")
	if now := s.own(); now != own {
		t.Errorf("our table is another one:\n%s\nbefore:\n%s", now, own)
	}
	before := live.Received()
	s.until("the live flow goes on", func() bool { return live.Received() > before })
	p.end()
	for k, list := range p.tr.sent {
		if p.tr.sorts[k] != always {
			continue
		}
		for _, x := range list {
			four, during := p.tr.kinds[k].Dst.Is4(), x.At.After(policy.from) && x.At.Before(policy.to)
			if !four && !x.Got || four && during && x.Got {
				t.Fatalf("IPv4 %v, under docker's policy %v: arrived %v; docker leaves IPv6 alone", four, during, x.Got)
			}
		}
	}
	p.list = nil
	p.tr = s.send()
	p.putBack()
	p.rest("our table is back", "passes")
	p.end()
}

// ufw is enabled beside us: it drops what is forwarded, until it is told to let it
// pass; its reload does not touch ours.
func TestBesideUfw(t *testing.T) {
	s, p, live := enforced(t)
	p.rest("alone", "passes")
	ufw := s.beside("cp /usr/share/ufw/*.rules /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /etc/ufw/; touch /run/ready; exec sleep 1000")
	s.until("ufw's machine is ready", func() bool { _, code := ufw.run("test", "-e", "/run/ready"); return code == 0 })
	p.do("ufw enable", "", func() { ufw.must("ufw", "--force", "enable") })
	p.rest("beside ufw", "dropped")
	s.notProved("beside ufw", `not proved: table ip filter chain FORWARD.* foreign, on our path: .*drop`)
	p.do("ufw route allow", "", func() { ufw.must("ufw", "route", "allow", "in", "on", "eth1", "out", "on", "eth2") })
	p.rest("ufw lets it pass", "passes")
	p.do("the site accepts ufw, and changes", "passes", func() { s.accepts("beside ufw", "ip filter", "ip6 filter") })
	own := s.own()
	p.do("ufw reload", "", func() { ufw.must("ufw", "reload") })
	p.rest("after the reload", "passes")
	s.lives(live, "beside ufw")
	if now := s.own(); now != own {
		t.Errorf("our table is another one:\n%s\nbefore:\n%s", now, own)
	}
	p.do("ufw disable", "", func() { ufw.must("ufw", "disable") })
	p.rest("alone again", "passes")
	p.end()
}

// kubeRules are what kube-proxy writes by iptables-restore (mode iptables, without the
// chains of single services): packets are marked to be masqueraded, and what fits no flow
// is dropped.
const kubeRules = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-F KUBE-SERVICES
-F KUBE-POSTROUTING
-F KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-F KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`

// kubeJumps lead to them; kube-proxy adds them one by one where they are missing.
const kubeJumps = `
iptables -t nat -I PREROUTING -j KUBE-SERVICES
iptables -t nat -I OUTPUT -j KUBE-SERVICES
iptables -t nat -I POSTROUTING -j KUBE-POSTROUTING
iptables -t filter -I FORWARD -j KUBE-FORWARD
`

// kube-proxy's rules come, and are written anew, beside us. There is no cluster: the rules
// are loaded by the program that it loads them with. The plan is refused, because
// they read packets' marks and may drop, and says so; what is in force stays.
func TestBesideKubeProxy(t *testing.T) {
	s, p, live := enforced(t)
	p.rest("alone", "passes")
	own := s.own()
	s.write("kube.rules", kubeRules)
	load := "iptables-restore --noflush < " + filepath.Join(s.dir, "kube.rules")
	kube := s.beside("touch /run/ready; exec sleep 1000")
	s.until("the machine is ready", func() bool { _, code := kube.run("test", "-e", "/run/ready"); return code == 0 })
	p.do("kube-proxy's rules come", "", func() { kube.must("sh", "-ec", load+kubeJumps) })
	p.rest("beside kube-proxy", "passes")
	s.notProved("beside kube-proxy", `table ip filter chain KUBE-FORWARD .* may drop packets`, `chain KUBE-POSTROUTING .*MARK`)
	p.do("they are written anew", "passes", func() { kube.must("sh", "-ec", load) })
	p.rest("after that", "passes")
	s.lives(live, "beside kube-proxy")
	if now := s.own(); now != own {
		t.Errorf("our table is another one:\n%s\nbefore:\n%s", now, own)
	}
	p.end()
	p.list = nil
	p.tr = s.send()
	p.putBack()
	p.rest("our table is back", "passes")
	p.end()
}
