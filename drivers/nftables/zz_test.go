package nftables_test

import (
	"regexp"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/driver/drivertest"
)

func TestZZ(t *testing.T) {
	for _, p := range []drivertest.Placement{drivertest.Leased(), drivertest.Managed()} {
		ns := newNetns(t)
		d := nftables.New(nftables.Options{Site: "test", Netns: ns})
		if s := drivertest.Bring(t, d, p); s != "" {
			t.Fatal(s)
		}
		text := nft(t, ns, "", "-a", "list", "table", "inet", "bulkhead_test")
		re := regexp.MustCompile(`(?m)^\t\t.*(udp sport|fs_port).* # handle (\d+)$`)
		chain := regexp.MustCompile(`(?m)^\tchain (\S+) \{`)
		for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
			c := chain.FindAllStringSubmatch(text[:m[0]], -1)
			t.Log("delete", text[m[0]:m[1]])
			nft(t, ns, "delete rule inet bulkhead_test "+c[len(c)-1][1]+" handle "+text[m[4]:m[5]]+"\n")
		}
		t.Log(drivertest.Wrong(t, d, p))
	}
}
