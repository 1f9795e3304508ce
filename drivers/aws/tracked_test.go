package aws_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
)

// notes are what the plan of a change tells besides.
func (e *estate) notes(t testing.TB, want driver.Desired) []string {
	t.Helper()
	d := e.driver()
	have, err := d.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	return r.Notes
}

func web(t testing.TB, ports ...uint16) driver.Desired {
	var says []say
	for _, p := range ports {
		says = append(says, say{"web", "app", p})
	}
	return desired(t, map[string][]string{"web": {"web", "web2"}, "app": {"app"}}, says, "web", "web2", "app")
}

// A rule that goes is named with the flows that live on, by the timeouts of the interface.
func TestTrackedConnections(t *testing.T) {
	e := newEstate(t)
	e.bring(t, web(t, 80, 443))
	if n := e.notes(t, web(t, 80, 443)); len(n) != 0 {
		t.Fatalf("nothing changes, and there are notes: %q", n)
	}
	if n := e.notes(t, web(t, 80, 443, 8080)); len(n) != 0 {
		t.Fatalf("nothing is taken away, and there are notes: %q", n)
	}
	e.r.SetTimeouts(e.app, 3600, 120, 60)
	said := strings.Join(e.notes(t, web(t, 443)), "\n")
	for _, want := range []string{
		"no longer permitted: tcp/80 from 10.0.0.10/32, on " + e.app + "; what is open stays open: TCP until it is silent for 1 hour",
		fmt.Sprintf("no longer permitted: tcp/80 to 10.0.0.11/32, on %s, %s; what is open stays open: TCP until it is silent for 5 days", min(e.web, e.web2), max(e.web, e.web2)),
		"network ACL",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in\n%s", want, said)
		}
	}
	if strings.Contains(said, "tcp/443") || strings.Contains(said, e.db) {
		t.Error(said)
	}
}

// What AWS does not track ends at once, and is not said to live.
func TestUntrackedConnections(t *testing.T) {
	e := newEstate(t)
	e.s.Exclusive = true
	all := []awstest.RuleSpec{{Protocol: "-1", CIDR: "0.0.0.0/0"}}
	open := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "open", Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 22, CIDR: "0.0.0.0/0"}}, Egress: all})
	one := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "one", Ingress: []awstest.RuleSpec{{Protocol: "udp", From: 53, CIDR: "192.0.2.0/24"}}, Egress: []awstest.RuleSpec{}})
	e.r.SetGroups(e.app, open)
	e.r.SetGroups(e.web, one)
	list := e.notes(t, web(t, 80))
	rule := func(r string) string {
		i := slices.IndexFunc(list, func(n string) bool { return strings.HasPrefix(n, "no longer permitted: "+r) })
		if i < 0 {
			t.Fatalf("%s is not in %q", r, list)
		}
		return list[i]
	}
	if n := rule("tcp/22 from 0.0.0.0/0"); !strings.Contains(n, "only if a load balancer, NAT or transit gateway is in between") {
		t.Error(n)
	}
	if n := rule("udp/53 from 192.0.2.0/24"); !strings.HasSuffix(n, "UDP until it is silent for 30 seconds (3 minutes of more than one request)") {
		t.Error(n)
	}
	// Answers to what goes out pass on port 22 alone, so that this is tracked.
	if n := rule("everything to 0.0.0.0/0"); strings.Contains(n, "load balancer") || !strings.Contains(n, "TCP until it is silent for 5 days") || !strings.Contains(n, "other protocols until they are silent for 10 minutes") {
		t.Error(n)
	}
}

// A large change names some rules and counts the others.
func TestTrackedIsBounded(t *testing.T) {
	e := newEstate(t)
	var ports []uint16
	for p := range uint16(30) {
		ports = append(ports, 1000+2*p)
	}
	e.bring(t, web(t, ports...))
	list := e.notes(t, web(t))
	if len(list) != 10 || !strings.Contains(list[8], "more rules") {
		t.Fatalf("%d notes: %q", len(list), list)
	}
	if again := e.notes(t, web(t)); !slices.Equal(list, again) {
		t.Error("the same state gives other notes")
	}
}
