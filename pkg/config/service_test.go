package config

import (
	"reflect"
	"strings"
	"testing"

	"bulkhead/pkg/policy"
)

func TestParseService(t *testing.T) {
	for in, want := range map[string]policy.Range{
		"tcp/443":             {Proto: 6, Lo: 443, Hi: 443},
		"tcp/0":               {Proto: 6},
		"udp/6000-6999":       {Proto: 17, Lo: 6000, Hi: 6999},
		"udp/0-65535":         {Proto: 17, Hi: 65535},
		"sctp/3868":           {Proto: 132, Lo: 3868, Hi: 3868},
		"dccp/5004":           {Proto: 33, Lo: 5004, Hi: 5004},
		"udplite/1-1":         {Proto: 136, Lo: 1, Hi: 1},
		"icmp/echo-request":   {Proto: 1, Lo: 0x0800, Hi: 0x08ff},
		"icmp/3":              {Proto: 1, Lo: 0x0300, Hi: 0x03ff},
		"icmp/3:4":            {Proto: 1, Lo: 0x0304, Hi: 0x0304},
		"icmp/echo-reply:0":   {Proto: 1},
		"icmpv6/135":          {Proto: 58, Lo: 0x8700, Hi: 0x87ff},
		"icmpv6/echo-request": {Proto: 58, Lo: 0x8000, Hi: 0x80ff},
		"icmpv6/255:255":      {Proto: 58, Lo: 0xffff, Hi: 0xffff},
		"tcp":                 {Proto: 6, Hi: 65535},
		"icmpv6":              {Proto: 58, Hi: 65535},
		"gre":                 {Proto: 47, Hi: 65535},
		"proto/47":            {Proto: 47, Hi: 65535},
		"proto/6":             {Proto: 6, Hi: 65535},
		"proto/0":             {Hi: 65535},
		"proto/255":           {Proto: 255, Hi: 65535},
	} {
		got, err := ParseService(in)
		if err != nil || !reflect.DeepEqual(got, []policy.Range{want}) {
			t.Errorf("ParseService(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	all, err := ParseService("any")
	if err != nil || len(all) != 256 || all[255] != (policy.Range{Proto: 255, Hi: 65535}) {
		t.Errorf("any: %v, %v", len(all), err)
	}
	for _, in := range []string{
		"", "/", "tcp/", "tcp/x", "tcp/-1", "tcp/65536", "tcp/2-1", "tcp/1-2-3", "tcp/1-", "tcp/-", "tcp/ 1", "tcp/+1", "tcp/01",
		"TCP/1", "Any", "any/1", "icmp/256", "icmp/3:256", "icmp/3:", "icmp/:", "icmp/x", "icmp/nd-neighbor-solicit", "proto", "proto/256", "proto/x", "gre/1", "47",
	} {
		if got, err := ParseService(in); err == nil {
			t.Errorf("ParseService(%q) = %v", in, got)
		}
	}
}

func FuzzParseService(f *testing.F) {
	for _, s := range []string{"tcp/443", "udp/6000-6999", "icmp/3:4", "icmpv6/echo-request", "proto/47", "any", "tcp/", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ranges, err := ParseService(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x1b\x00\n") {
				t.Fatalf("error with raw control characters: %q", err)
			}
			return
		}
		if len(ranges) == 0 {
			t.Fatalf("%q is nothing", s)
		}
		for _, r := range ranges {
			if r.Lo > r.Hi || !HasPorts(r.Proto) && !HasTypes(r.Proto) && (r.Lo != 0 || r.Hi != 65535) {
				t.Fatalf("%q gives %+v", s, r)
			}
		}
		if !reflect.DeepEqual(mergeRanges(ranges), ranges) {
			t.Fatalf("%q is not canonical: %v", s, ranges)
		}
	})
}

func TestMergeRanges(t *testing.T) {
	got := mergeRanges([]policy.Range{{Proto: 17, Lo: 5, Hi: 9}, {Proto: 6, Lo: 10, Hi: 65535}, {Proto: 6, Lo: 1, Hi: 3}, {Proto: 6, Lo: 4, Hi: 7}, {Proto: 6, Lo: 2, Hi: 2}})
	want := []policy.Range{{Proto: 6, Lo: 1, Hi: 7}, {Proto: 6, Lo: 10, Hi: 65535}, {Proto: 17, Lo: 5, Hi: 9}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
