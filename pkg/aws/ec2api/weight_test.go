package ec2api

import "testing"

func TestWeight(t *testing.T) {
	for _, tt := range []struct {
		l     PrefixList
		want  int
		known bool
	}{
		{PrefixList{Owner: "111122223333", Name: "offices", MaxEntries: 20}, 20, true},
		{PrefixList{Owner: "111122223333", Name: "com.amazonaws.eu-central-1.s3", MaxEntries: 20}, 20, true},
		{PrefixList{Owner: "AWS", Name: "com.amazonaws.eu-central-1.s3"}, 1, true},
		{PrefixList{Owner: "AWS", Name: "com.amazonaws.global.cloudfront.origin-facing"}, 55, true},
		{PrefixList{Owner: "AWS", Name: "com.amazonaws.global.ipv6.cloudfront.origin-facing"}, 55, true},
		{PrefixList{Owner: "AWS", Name: "com.amazonaws.eu-central-1.ipv6.vpc-lattice"}, 10, true},
		{PrefixList{Owner: "AWS", Name: "com.amazonaws.eu-central-1.new"}, 0, false},
		{PrefixList{Owner: "AWS", Name: "s3"}, 0, false},
		{PrefixList{Owner: "111122223333"}, 0, false},
	} {
		if n, known := tt.l.Weight(); n != tt.want || known != tt.known {
			t.Errorf("%+v weighs %d %t, want %d %t", tt.l, n, known, tt.want, tt.known)
		}
	}
}
