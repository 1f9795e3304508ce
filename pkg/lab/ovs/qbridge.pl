#!/usr/bin/perl
# BRIDGE-MIB and Q-BRIDGE-MIB (RFC 4363) of the lab's switch, as an AgentX sub-agent
# (RFC 2741) of net-snmp's snmpd. A SET goes through its phases, so that all variables of
# a PDU are set or none.
#
# A port sends and takes untagged frames in its PVID if it is an untagged member of that
# VLAN, and tagged ones in the VLANs of which it is a tagged member. A port that is no
# member of its PVID takes no untagged frames: ingress filtering is on, and stays on. That
# a port is an untagged member of a VLAN that is not its PVID means nothing here; a switch
# would send that VLAN's frames to it.
#
# Environment: QB_IFINDEX (ifIndex of port 1, 2, ...), QB_PVID (their VLANs), QB_DB (the
# database of Open vSwitch), QB_CTL (the control socket of ovs-vswitchd), QB_FAIL (a file;
# while it exists the switch cannot do what a SET says).
use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;
use NetSNMP::OID;
use NetSNMP::agent (':all');
use NetSNMP::ASN (':all');

my @ifindex = split ' ', $ENV{QB_IFINDEX};
my $ports   = @ifindex;
my $bytes   = int(($ports + 7) / 8);    # of a PortList
my $nobody  = 4095;                     # a VLAN that IEEE 802.1Q lets nobody be in

use constant INCONSISTENT_NAME => 18;   # which NetSNMP::agent does not name

my $root   = '.1.3.6.1.2.1.17';
my $static = "$root.7.1.4.3.1";         # dot1qVlanStaticEntry
my $pvid   = "$root.7.1.4.5.1.1";       # dot1qPvid
my @column = (undef, qw(name egress forbidden untagged status));

# What is configured: the VLAN of each port, and the rows of the static table.
my %state = (pvid => {}, vlan => {});

# A PortList: port 1 is the highest bit of the first byte.
sub list {
    my $v = "\0" x $bytes;
    for my $p (@_) {
        my $at = int(($p - 1) / 8);
        substr($v, $at, 1) = chr(ord(substr $v, $at, 1) | 0x80 >> ($p - 1) % 8);
    }
    return $v;
}

sub members {
    my $v = shift;
    return grep { ord(substr $v, int(($_ - 1) / 8), 1) & 0x80 >> ($_ - 1) % 8 } 1 .. 8 * length $v;
}

sub row {
    my ($name, @in) = @_;
    return { name => $name, egress => list(@in), forbidden => list(), untagged => list(@in), status => 1 };
}

sub copy {
    my %vlan = map { $_ => { %{ $state{vlan}{$_} } } } keys %{ $state{vlan} };
    return { pvid => { %{ $state{pvid} } }, vlan => \%vlan };
}

# What Open vSwitch is told of a port.
sub port_settings {
    my ($s, $p) = @_;
    my $own = $s->{pvid}{$p};
    my ($in, $tagged) = ('', '');
    my @tagged;
    for my $vid (sort { $a <=> $b } keys %{ $s->{vlan} }) {
        my $v = $s->{vlan}{$vid};
        next unless $v->{status} == 1 && grep { $_ == $p } members($v->{egress});
        my $bare = grep { $_ == $p } members($v->{untagged});
        if ($vid == $own) { $in = $bare ? 'native-untagged' : 'native-tagged' }
        push @tagged, $vid if $vid == $own || !$bare;
    }
    return "vlan_mode=access tag=$own trunks=[]" if $in eq 'native-untagged' && @tagged == 1;
    return "vlan_mode=$in tag=$own trunks=" . join(',', @tagged) if $in;
    return 'vlan_mode=trunk tag=[] trunks=' . join(',', @tagged ? @tagged : $nobody);
}

# Tells Open vSwitch what differs, all at once, and waits until it has done it.
sub apply {
    my ($from, $to) = @_;
    my @args;
    for my $p (1 .. $ports) {
        my $want = port_settings($to, $p);
        next if $want eq port_settings($from, $p);
        push @args, '--', 'set', 'Port', "port$p", split(' ', $want);
    }
    return 1 unless @args;
    return 0 if -e $ENV{QB_FAIL};
    return system('ovs-vsctl', "--db=$ENV{QB_DB}", '--timeout=30', @args) == 0;
}

# The addresses that were learned: port, VLAN and MAC of each. It dies where the switch
# does not say.
sub learned {
    my $s = IO::Socket::UNIX->new(Peer => $ENV{QB_CTL}) or die "the switch does not answer: $!";
    print $s encode_json({ id => 0, method => 'fdb/show', params => ['l2'] });
    $s->flush();
    my ($json, $reply) = JSON::PP->new();
    until ($reply) {
        sysread $s, my $part, 65536 or die "the switch's answer breaks off";
        $reply = $json->incr_parse($part);
    }
    die 'the switch does not say what it has learned' if defined $reply->{error};
    my @found;
    for (split /\n/, $reply->{result}) {
        push @found, [ $1, $2, join '.', map { hex } split /:/, $3 ] if /^\s*(\d+)\s+(\d+)\s+([0-9a-f:]{17})\s/;
    }
    return \@found;
}

# All that can be read, by OID.
sub view {
    my %o = (
        "$root.1.2.0"     => [ ASN_INTEGER,  $ports ],                           # dot1dBaseNumPorts
        "$root.7.1.1.1.0" => [ ASN_INTEGER,  1 ],                                # dot1qVlanVersionNumber
        "$root.7.1.1.2.0" => [ ASN_INTEGER,  4094 ],                             # dot1qMaxVlanId
        "$root.7.1.1.3.0" => [ ASN_UNSIGNED, 4094 ],                             # dot1qMaxSupportedVlans
        "$root.7.1.1.4.0" => [ ASN_UNSIGNED, scalar keys %{ $state{vlan} } ],    # dot1qNumVlans
    );
    for my $p (1 .. $ports) {
        $o{"$root.1.4.1.1.$p"}     = [ ASN_INTEGER,  $p ];                       # dot1dBasePort
        $o{"$root.1.4.1.2.$p"}     = [ ASN_INTEGER,  $ifindex[ $p - 1 ] ];       # dot1dBasePortIfIndex
        $o{"$pvid.$p"}             = [ ASN_UNSIGNED, $state{pvid}{$p} ];
        $o{"$root.7.1.4.5.1.2.$p"} = [ ASN_INTEGER,  1 ];                        # dot1qPortAcceptableFrameTypes: all
        $o{"$root.7.1.4.5.1.3.$p"} = [ ASN_INTEGER,  1 ];                        # dot1qPortIngressFiltering: true
    }
    for (@{ learned() }) {
        my ($port, $vid, $mac) = @$_;
        $o{"$root.4.3.1.1.$mac"}          = [ ASN_OCTET_STR, pack 'C6', split /\./, $mac ];    # dot1dTpFdbAddress
        $o{"$root.4.3.1.2.$mac"}          = [ ASN_INTEGER,   $port ];
        $o{"$root.4.3.1.3.$mac"}          = [ ASN_INTEGER,   3 ];                              # learned
        $o{"$root.7.1.2.2.1.2.$vid.$mac"} = [ ASN_INTEGER,   $port ];                          # dot1qTpFdbPort
        $o{"$root.7.1.2.2.1.3.$vid.$mac"} = [ ASN_INTEGER,   3 ];
    }
    while (my ($vid, $v) = each %{ $state{vlan} }) {
        $o{"$static.1.$vid"} = [ ASN_OCTET_STR, $v->{name} ];
        $o{"$static.2.$vid"} = [ ASN_OCTET_STR, $v->{egress} ];
        $o{"$static.3.$vid"} = [ ASN_OCTET_STR, $v->{forbidden} ];
        $o{"$static.4.$vid"} = [ ASN_OCTET_STR, $v->{untagged} ];
        $o{"$static.5.$vid"} = [ ASN_INTEGER,   $v->{status} ];
        next unless $v->{status} == 1;
        my $current = "$root.7.1.4.2.1";                                         # dot1qVlanCurrentEntry
        $o{"$current.3.0.$vid"} = [ ASN_UNSIGNED,  $vid ];                       # the FDB is the VLAN's own
        $o{"$current.4.0.$vid"} = [ ASN_OCTET_STR, $v->{egress} ];
        $o{"$current.5.0.$vid"} = [ ASN_OCTET_STR, $v->{untagged} ];
        $o{"$current.6.0.$vid"} = [ ASN_INTEGER,   2 ];                          # permanent
    }
    return \%o;
}

sub by_oid {
    my @x = split /\./, substr $a, 1;
    my @y = split /\./, substr $b, 1;
    for (my $i = 0; $i < @x && $i < @y; $i++) {
        my $c = $x[$i] <=> $y[$i];
        return $c if $c;
    }
    return @x <=> @y;
}

sub oid { return '.' . join '.', $_[0]->getOID()->to_array() }

sub get {
    my ($r, $o) = @_;
    my $v = $o->{ oid($r) };
    $r->setValue(@$v) if $v;
}

sub getnext {
    my ($r, $o) = @_;
    my $after = oid($r);
    my @all = sort by_oid keys %$o, $after;
    for my $i (0 .. $#all - 1) {
        next if $all[$i] ne $after || $all[ $i + 1 ] eq $after;
        $r->setOID($all[ $i + 1 ]);
        $r->setValue(@{ $o->{ $all[ $i + 1 ] } });
        return;
    }
}

# The value of a request. net-snmp's Perl shows it as its tools print it: text in quotes,
# and what is not text as bytes in hexadecimal, each with a blank behind it.
sub value {
    my ($r, $type) = @_;
    my $v = $r->getValue();
    if ($type != ASN_OCTET_STR) {
        $v =~ s/^\w+:\s*//;
        $v =~ s/.*\((-?\d+)\).*/$1/;
        return $v;
    }
    $v =~ s/^(?:Hex-)?STRING:\s*//;
    if ($v =~ s/^"(.*)"$/$1/s) {
        return pack 'C*', map { hex } split ' ', $v if $v =~ /^(?:[0-9A-F]{2} )+$/;
        $v =~ s/\\(["\\])/$1/g;
        return $v;
    }
    return $v =~ /^(?:[0-9A-Fa-f]{2}\s*)*$/ ? pack('C*', map { hex } split ' ', $v) : $v;
}

# What is being set: the variables of a PDU, the state that they make, the one before.
my (@sets, $next, $before);

# Reads one variable; returns an error, or 0.
sub reserve {
    my $r   = shift;
    my $oid = oid($r);
    if ($oid =~ /^\Q$pvid\E\.(\d+)$/) {
        return SNMP_ERR_NOCREATION unless exists $state{pvid}{$1};
        my $p = $1;
        return SNMP_ERR_WRONGTYPE if $r->getType() != ASN_UNSIGNED;
        my $v = value($r, ASN_UNSIGNED);
        return SNMP_ERR_WRONGVALUE if $v < 1 || $v > 4094;
        push @sets, [ 'pvid', $p, $v ];
        return 0;
    }
    return SNMP_ERR_NOTWRITABLE unless $oid =~ /^\Q$static\E\.([1-5])\.(\d+)$/;
    my ($col, $vid) = ($column[$1], $2);
    my $type = $col eq 'status' ? ASN_INTEGER : ASN_OCTET_STR;
    return SNMP_ERR_WRONGTYPE if $r->getType() != $type;
    return SNMP_ERR_NOCREATION if $vid < 1 || $vid > 4094;
    my $v = value($r, $type);
    if ($col eq 'status') {
        return SNMP_ERR_WRONGVALUE unless $v =~ /^[12456]$/;
    }
    elsif ($col eq 'name') {
        return SNMP_ERR_WRONGLENGTH if length $v > 32;
    }
    else {
        return SNMP_ERR_WRONGVALUE if grep { $_ > $ports } members($v);
        $v = substr $v . "\0" x $bytes, 0, $bytes;
    }
    push @sets, [ $col, $vid, $v ];
    return 0;
}

# Makes the state that all variables of the PDU make together; returns an error, or 0.
sub combine {
    $next = copy();
    my $vlan = $next->{vlan};
    for my $s (sort { ($b->[0] eq 'status') <=> ($a->[0] eq 'status') } @sets) {    # rows before what is in them
        my ($col, $i, $v) = @$s;
        if ($col eq 'pvid') { $next->{pvid}{$i} = $v }
        elsif ($col ne 'status') {
            return INCONSISTENT_NAME unless $vlan->{$i};
            $vlan->{$i}{$col} = $v;
        }
        elsif ($v == 4 || $v == 5) {                                                # createAndGo, createAndWait
            return SNMP_ERR_INCONSISTENTVALUE if $vlan->{$i};
            $vlan->{$i} = { %{ row('') }, status => $v == 4 ? 1 : 2 };
        }
        elsif ($v == 6) { delete $vlan->{$i} }                                      # destroy
        else {
            return SNMP_ERR_INCONSISTENTVALUE unless $vlan->{$i};
            $vlan->{$i}{status} = $v;
        }
    }
    for my $p (1 .. $ports) {
        my $v = $vlan->{ $next->{pvid}{$p} };
        return SNMP_ERR_INCONSISTENTVALUE unless $v && $v->{status} == 1;
    }
    for my $v (values %$vlan) {
        my %egress = map { $_ => 1 } members($v->{egress});
        return SNMP_ERR_INCONSISTENTVALUE if grep { !$egress{$_} } members($v->{untagged});
        return SNMP_ERR_INCONSISTENTVALUE if grep { $egress{$_} } members($v->{forbidden});
    }
    return 0;
}

sub handler {
    my (undef, undef, $info, $requests) = @_;
    my $mode = $info->getMode();
    if ($mode == MODE_GET || $mode == MODE_GETNEXT) {
        my $o = eval { view() };
        return $requests->setError($info, SNMP_ERR_GENERR) unless $o;    # and not: nothing there
        for (my $r = $requests; $r; $r = $r->next()) {
            $mode == MODE_GET ? get($r, $o) : getnext($r, $o);
        }
    }
    elsif ($mode == MODE_SET_RESERVE1) {
        @sets = ();
        for (my $r = $requests; $r; $r = $r->next()) {
            my $error = reserve($r);
            return $r->setError($info, $error) if $error;
        }
    }
    elsif ($mode == MODE_SET_RESERVE2) {
        my $error = combine();
        $requests->setError($info, $error) if $error;
    }
    elsif ($mode == MODE_SET_ACTION) {
        $before = copy();
        return $requests->setError($info, SNMP_ERR_COMMITFAILED) unless apply($before, $next);
        %state = %$next;
    }
    elsif ($mode == MODE_SET_UNDO) {
        if ($before) {
            apply(\%state, $before) or $requests->setError($info, SNMP_ERR_UNDOFAILED);
            %state = %$before;
        }
        undef $before;
    }
    elsif ($mode == MODE_SET_COMMIT || $mode == MODE_SET_FREE) {
        undef $before;
        @sets = ();
    }
}

{
    my @of = split ' ', $ENV{QB_PVID};
    $state{pvid}{$_} = $of[ $_ - 1 ] for 1 .. $ports;
    for my $vid (1, @of) {
        $state{vlan}{$vid} ||= row($vid == 1 ? 'default' : "VLAN$vid", grep { $of[ $_ - 1 ] == $vid } 1 .. $ports);
    }
}
my $agent = NetSNMP::agent->new(Name => 'qbridge', AgentX => 1) or die 'no agent';
$agent->register('qbridge', $root, \&handler) or die 'not registered';
$agent->agent_check_and_process(1) while 1;
