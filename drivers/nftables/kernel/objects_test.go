package kernel

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// everything is a ruleset with one of everything that the reader knows.
const everything = `
table inet t {
	flags dormant
	comment "a table"
	counter seen { }
	quota q { over 10 mbytes }
	map hosts { type ipv4_addr : mark; size 64; counter; elements = { * : 0x1, 10.0.0.1 counter packets 3 bytes 180 : 0x10 } }
	map to { type mark : verdict; elements = { 0x5 : goto eval, 0x6 : drop } }
	map objects { type ipv4_addr : counter; elements = { 10.0.0.1 : "seen" } }
	map range { type mark . inet_proto . inet_service : mark; flags interval; elements = { 0x1 . tcp . 10-20 : 0x7 } }
	set dyn { type ipv4_addr; size 128; flags dynamic,timeout; timeout 1h; }
	set two { type ipv4_addr; size 16; flags dynamic; counter quota over 5 mbytes; }
	set commented { type ipv4_addr; elements = { 10.0.0.9 comment "nine" } }
	chain eval { comment "a chain"
		counter name "seen" drop comment "a rule"
	}
	chain forward { type filter hook forward priority filter + 5; policy drop;
		meta mark set ip saddr map @hosts
		notrack
		add @dyn { ip saddr counter }
		tcp dport { 1, 2 } log prefix "x" group 5 accept
	}
}
table ip other {
	set s { type ipv4_addr; elements = { 1.2.3.4 } }
}
table netdev dev {
	chain in { type filter hook ingress device "lo" priority 0; }
}
`

func TestReadEverything(t *testing.T) {
	freshNS(t)
	nft(t, everything)
	c := open(t)
	rs, err := c.Read(context.Background(), func(t *ruleset.Table) bool { return t.Name == "t" })
	if err != nil {
		t.Fatal(err)
	}
	x := rs.Table(inet, "t")
	if x.Flags != 1 || len(x.UserData) == 0 || x.Handle == 0 || len(x.Objects) != 2 || len(x.Sets) != 8 {
		t.Errorf("table %+v", x)
	}
	hosts := x.Set("hosts")
	if len(hosts.Elements) != 2 || hosts.Elements[0].Flags != ruleset.ElemCatchAll || !bytes.Equal(hosts.Elements[0].Data, host(1)) ||
		hosts.Elements[1].Packets != 3 || hosts.Elements[1].Bytes != 180 || hosts.Exprs[0].Name != "counter" || hosts.Size != 64 {
		t.Errorf("hosts %+v", hosts)
	}
	if to := x.Set("to"); to.DataType != nftDataVerdictType || *to.Elements[0].Verdict != (ruleset.Verdict{Code: -4, Chain: "eval"}) {
		t.Errorf("to %+v", to)
	}
	if o := x.Set("objects"); o.ObjType != 1 || o.Elements[0].Object != "seen" {
		t.Errorf("objects %+v", o)
	}
	if r := x.Set("range"); len(r.Fields) != 3 || r.Fields[1] != 1 || len(r.Elements[0].KeyEnd) != 12 {
		t.Errorf("range %+v", r)
	}
	if two := x.Set("two"); len(two.Exprs) != 2 || two.Exprs[1].Name != "quota" {
		t.Errorf("two %+v", two)
	}
	if d := x.Set("dyn"); !d.NotRead || !d.Dynamic() || d.Timeout != time.Hour {
		t.Errorf("dyn %+v", d)
	}
	if len(x.Set("commented").Elements[0].UserData) == 0 {
		t.Error("no comment")
	}
	f := x.Chain("forward")
	if f.Hook.Num != 2 || f.Hook.Priority != 5 || f.Policy != 0 || f.Type != "filter" || len(f.Rules) != 4 {
		t.Errorf("forward %+v", f)
	}
	if e := f.Rules[1].Exprs; len(e) != 1 || e[0].Name != "notrack" || len(e[0].Data) != 0 {
		t.Errorf("notrack %+v", e)
	}
	if ev := x.Chain("eval"); ev.Hook != nil || len(ev.UserData) == 0 || len(ev.Rules[0].UserData) == 0 || ev.Rules[0].Exprs[0].Name != "objref" {
		t.Errorf("eval %+v", ev)
	}
	if s := rs.Table(ruleset.FamilyIPv4, "other").Set("s"); !s.NotRead || s.Elements != nil {
		t.Errorf("a foreign set was read: %+v", s)
	}
	if d := rs.Table(ruleset.FamilyNetdev, "dev").Chain("in"); d.Hook.Devices[0] != "lo" {
		t.Errorf("netdev chain %+v", d)
	}
}

// TestRoundTrip reads what nft loaded, commits that to another namespace, and
// reads the same again.
func TestRoundTrip(t *testing.T) {
	freshNS(t)
	nft(t, everything)
	first := read(t, open(t)).Table(inet, "t")
	freshNS(t)
	c := open(t)
	var b Batch
	b.AddTable(inet, "t", first.Flags, first.UserData)
	for i := range first.Objects {
		b.AddObject(inet, "t", &first.Objects[i])
	}
	for i := range first.Chains {
		b.AddChain(inet, "t", &first.Chains[i])
	}
	for i := range first.Sets {
		if s := &first.Sets[i]; s.Flags&ruleset.SetAnonymous == 0 {
			b.AddSet(inet, "t", s)
			b.AddElements(inet, "t", s.Name, s.Elements)
		}
	}
	for _, ch := range first.Chains {
		for i := range ch.Rules {
			if ch.Name != "forward" || i < 3 { // the last looks up an anonymous set
				b.AddRule(inet, "t", ch.Name, &ch.Rules[i])
			}
		}
	}
	commit(t, c, &b)
	second := read(t, c).Table(inet, "t")
	if second.Flags != first.Flags || !bytes.Equal(second.UserData, first.UserData) || len(second.Objects) != 2 {
		t.Errorf("table %+v", second)
	}
	for i := range first.Sets {
		if s := &first.Sets[i]; s.Flags&ruleset.SetAnonymous == 0 {
			again := second.Set(s.Name)
			if again == nil || !bytes.Equal(again.UserData, s.UserData) || again.Flags != s.Flags || again.ObjType != s.ObjType || len(again.Exprs) != len(s.Exprs) {
				t.Fatalf("set %+v, want %+v", again, s)
			}
			for j := range s.Elements {
				if !sameElement(&s.Elements[j], &again.Elements[j]) || !bytes.Equal(s.Elements[j].UserData, again.Elements[j].UserData) {
					t.Errorf("set %s: element %+v, want %+v", s.Name, again.Elements[j], s.Elements[j])
				}
			}
		}
	}
	for _, ch := range first.Chains {
		again := second.Chain(ch.Name)
		for i, r := range again.Rules {
			for j, x := range r.Exprs {
				if w := ch.Rules[i].Exprs[j]; x.Name != w.Name || !bytes.Equal(x.Data, w.Data) {
					t.Errorf("chain %s rule %d: %s %x, want %s %x", ch.Name, i, x.Name, x.Data, w.Name, w.Data)
				}
			}
		}
	}
}

func TestElementTimeout(t *testing.T) {
	freshNS(t)
	c := open(t)
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", &ruleset.Set{Name: "x", Flags: ruleset.SetTimeout, KeyType: 7, KeyLen: 4, Size: 16})
	b.AddElements(inet, "t", "x", []ruleset.Element{
		{Key: be(1), Timeout: 200 * time.Millisecond}, {Key: be(2), Timeout: time.Hour}, {Key: be(3)}})
	commit(t, c, &b)
	el := read(t, c).Table(inet, "t").Set("x").Elements
	if len(el) != 3 || el[1].Timeout != time.Hour || el[1].Expiration < 59*time.Minute || el[1].Expiration > time.Hour || el[2].Expiration != 0 {
		t.Fatalf("%+v", el)
	}
	before, _ := c.Generation(context.Background())
	time.Sleep(300 * time.Millisecond)
	if after, _ := c.Generation(context.Background()); after != before {
		t.Error("an expiry moved the generation")
	}
	if el = read(t, c).Table(inet, "t").Set("x").Elements; len(el) != 2 {
		t.Fatalf("after the expiry: %+v", el)
	}
	b = Batch{}
	b.DelElements(inet, "t", "x", []ruleset.Element{{Key: be(2)}, {Key: be(1)}})
	err := c.Commit(context.Background(), &b, 0)
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("delete of an expired element: %v", err)
	}
	var e *BatchError
	if errors.As(err, &e); !bytes.Equal(e.Key, be(1)) {
		t.Errorf("key %x", e.Key)
	}
	if el = read(t, c).Table(inet, "t").Set("x").Elements; len(el) != 2 {
		t.Fatalf("after the failed batch: %+v", el)
	}
}

// TestAddAgain shows what the kernel makes of an element that is there already.
func TestAddAgain(t *testing.T) {
	freshNS(t)
	c := open(t)
	s := addressMap("x", ruleset.SetTimeout, 16)
	s.Exprs = []ruleset.Expr{counterExpr}
	var b Batch
	b.AddTable(inet, "t", 0, nil)
	b.AddSet(inet, "t", s)
	e := ruleset.Element{Key: be(1), Data: host(1), Timeout: time.Hour, HasCounter: true, Packets: 7, Bytes: 70}
	b.AddElements(inet, "t", "x", []ruleset.Element{e})
	commit(t, c, &b)
	b = Batch{}
	e.Timeout, e.Packets = 2*time.Hour, 0
	b.AddElements(inet, "t", "x", []ruleset.Element{e})
	commit(t, c, &b)
	got := read(t, c).Table(inet, "t").Set("x").Elements[0]
	if got.Packets != 7 {
		t.Errorf("the counter is %d", got.Packets)
	}
	t.Logf("timeout of an element added again: %v", got.Timeout) // Linux 6.12 takes the new one
}

func TestGetByKey(t *testing.T) {
	freshNS(t)
	c := open(t)
	load(t, c, 1000)
	keys := addresses(1001) // the last is absent
	keys[500] = ruleset.Element{Key: be(9)}
	got, err := c.Get(context.Background(), inet, "t", "x", keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range got {
		if absent := i == 500 || i == 1000; absent != (g == nil) {
			t.Fatalf("element %d: %+v", i, g)
		} else if g != nil && !bytes.Equal(g.Data, host(uint32(i)+1)) {
			t.Fatalf("element %d: %+v", i, g)
		}
	}
	if _, err := c.Get(context.Background(), inet, "t", "y", keys); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no such set: %v", err)
	}
	if _, err := c.Elements(context.Background(), inet, "t", "y"); !errors.Is(err, ErrNotFound) {
		t.Errorf("elements of no such set: %v", err)
	}
}

func TestDeletions(t *testing.T) {
	freshNS(t)
	c := open(t)
	nft(t, everything)
	var b Batch
	b.DelSet(inet, "t", "hosts") // a rule looks it up
	err := c.Commit(context.Background(), &b, 0)
	if !errors.Is(err, unix.EBUSY) {
		t.Fatalf("delete of a set in use: %v", err)
	}
	t.Log(err)
	x := read(t, c).Table(inet, "t")
	b = Batch{}
	b.DelRule(inet, "t", "forward", x.Chain("forward").Rules[0].Handle)
	b.FlushSet(inet, "t", "commented")
	b.FlushSet(inet, "t", "to")
	b.DelSet(inet, "t", "hosts")
	b.FlushChain(inet, "t", "eval")
	b.DelChain(inet, "t", "eval")
	b.FlushSet(inet, "t", "objects")
	b.DelObject(inet, "t", "seen", 1)
	commit(t, c, &b)
	x = read(t, c).Table(inet, "t")
	if len(x.Chain("forward").Rules) != 3 || x.Set("hosts") != nil || x.Chain("eval") != nil || len(x.Set("commented").Elements) != 0 || len(x.Objects) != 1 {
		t.Errorf("after the deletions: %+v", x)
	}
	b = Batch{}
	b.DelTable(inet, "t")
	commit(t, c, &b)
	if err := c.Commit(context.Background(), &b, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of no such table: %v", err)
	}
}

func TestOwnedTable(t *testing.T) {
	freshNS(t)
	mine, other := open(t), open(t)
	var b Batch
	b.AddTable(inet, "t", ruleset.TableOwner, []byte("mark"))
	commit(t, mine, &b)
	if x := read(t, other).Table(inet, "t"); x.Owner == 0 || x.Flags != ruleset.TableOwner || string(x.UserData) != "mark" {
		t.Errorf("table %+v", x)
	}
	b = Batch{}
	b.AddChain(inet, "t", &ruleset.Chain{Name: "a"})
	err := other.Commit(context.Background(), &b, 0)
	if !errors.Is(err, ErrOwned) {
		t.Fatalf("commit to another's table: %v", err)
	}
	t.Log(err)
	commit(t, mine, &b)
	run(t, "flush ruleset", "nft", "-f", "-")
	if read(t, mine).Table(inet, "t") == nil {
		t.Error("flush ruleset took an owned table")
	}
}

func TestMistakesAreKept(t *testing.T) {
	freshNS(t)
	c := open(t)
	long := string(bytes.Repeat([]byte("n"), 300))
	for name, f := range map[string]func(b *Batch){
		"table name": func(b *Batch) { b.AddTable(inet, long, 0, nil) },
		"set name":   func(b *Batch) { b.FlushSet(inet, "t", long) },
		"anonymous":  func(b *Batch) { b.AddSet(inet, "t", addressMap("x", ruleset.SetAnonymous, 0)) },
		"no key":     func(b *Batch) { b.AddElements(inet, "t", "x", []ruleset.Element{{Data: host(1)}}) },
		"long key":   func(b *Batch) { b.AddElements(inet, "t", "x", []ruleset.Element{{Key: make([]byte, 65)}}) },
		"opaque":     func(b *Batch) { b.AddElements(inet, "t", "x", []ruleset.Element{{Key: be(1), Opaque: true}}) },
		"rule 0":     func(b *Batch) { b.DelRule(inet, "t", "c", 0) },
		"rule": func(b *Batch) {
			b.AddRule(inet, "t", "c", &ruleset.Rule{Exprs: []ruleset.Expr{{Name: "x", Data: make([]byte, 1<<17)}}})
		},
	} {
		var b Batch
		b.AddTable(inet, "t", 0, nil)
		f(&b)
		if err := c.Commit(context.Background(), &b, 0); err == nil || errors.As(err, new(*BatchError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(read(t, c).Tables) != 0 {
		t.Error("a batch with a mistake was sent")
	}
}

func TestOpenErrors(t *testing.T) {
	for _, name := range []string{"no-such-name", "/no/such/path", ".."} {
		if _, err := Open(name); !errors.Is(err, ErrNoNamespace) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, err := os.Open("objects_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Open("./objects_test.go"); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("no namespace: %v", err)
	}
}

func TestOtherNamespaces(t *testing.T) {
	first := freshNS(t)
	second := freshNS(t)
	name := "bulkhead-kernel-test-" + itoa(os.Getpid())
	run(t, "", "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "", "ip", "netns", "del", name) })
	own := map[string]*Conn{"": open(t)}
	for _, at := range []string{first, second, name, "/run/netns/" + name} {
		c, err := Open(at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		own[at] = c
		var b Batch
		b.AddTable(inet, "t"+itoa(len(own)), 0, nil)
		commit(t, c, &b)
		subscribe(t, at, uint16(len(own)), 64)
	}
	for at, want := range map[string]int{"": 1, first: 1, second: 1, name: 2, "/run/netns/" + name: 2} {
		if got := len(read(t, own[at]).Tables); got != want {
			t.Errorf("%q: %d tables, want %d", at, got, want)
		}
		if flows, err := own[at].ListFlows(context.Background(), 0, 0, 0); err != nil || len(flows) != 0 {
			t.Errorf("%q: %v %v", at, flows, err)
		}
	}
	c := own[second]
	c.Close()
	if err := c.Commit(context.Background(), &Batch{ops: make([]batchOp, 1)}, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAdoptAPersistentTable(t *testing.T) {
	freshNS(t)
	const flags = ruleset.TableOwner | ruleset.TablePersist
	first, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	b.AddTable(inet, "t", flags, nil)
	commit(t, first, &b)
	second := open(t)
	if err := second.Commit(context.Background(), &b, 0); !errors.Is(err, ErrOwned) {
		t.Fatalf("take over from a living owner: %v", err)
	}
	first.Close()
	if x := read(t, second).Table(inet, "t"); x == nil || x.Owner != 0 || x.Flags != ruleset.TablePersist {
		t.Fatalf("after the owner's end: %+v", x)
	}
	commit(t, second, &b)
	if x := read(t, second).Table(inet, "t"); x.Owner == 0 {
		t.Fatalf("after the adoption: %+v", x)
	}
}

func TestDynamicSet(t *testing.T) {
	freshNS(t)
	run(t, "", "ip", "link", "set", "lo", "up")
	nft(t, `table inet t {
	set seen { type ipv4_addr . inet_service; size 128; flags dynamic,timeout; timeout 1h; counter; }
	chain out { type filter hook output priority 0; add @seen { ip daddr . udp dport }; }
}`)
	c := open(t)
	udpFlows(t, 5001, 5001, 5002)
	if x := read(t, c).Table(inet, "t").Set("seen"); !x.NotRead || x.Elements != nil {
		t.Errorf("%+v", x)
	}
	el, err := c.Elements(context.Background(), inet, "t", "seen")
	if err != nil || len(el) != 2 {
		t.Fatalf("%+v: %v", el, err)
	}
	if e := el[0]; !bytes.Equal(e.Key, pad([]byte{127, 0, 0, 1}, be2(5001))) || e.Packets != 2 || e.Expiration == 0 {
		t.Errorf("%+v", e)
	}
}

// TestOnlyNetAdmin runs with the one capability that the driver of this very
// namespace needs.
func TestOnlyNetAdmin(t *testing.T) {
	freshNS(t)
	dropCap(t, unix.CAP_SYS_ADMIN)
	c := open(t)
	load(t, c, 100)
	if n := len(read(t, c).Table(inet, "t").Set("x").Elements); n != 100 {
		t.Errorf("%d elements", n)
	}
	if _, err := c.ListFlows(context.Background(), 0, 0, 0); err != nil {
		t.Error(err)
	}
	subscribe(t, "", 9, 64)
}
