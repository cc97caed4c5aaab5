package Helpers;
use strict;
use warnings;
use utf8;
use Exporter 'import';
use Time::HiRes qw(sleep time);
use JSON::PP    ();
our @EXPORT = qw($HOST $PORT $BASE eqq ok2 dies wait_for);
our $HOST   = $ENV{REDIS_HOST} || '127.0.0.1';
our $PORT   = $ENV{REDIS_PORT} || 6379;
our $BASE   = $ENV{PORT_BASE}  || 8600;
my $j = JSON::PP->new->canonical->allow_nonref;
sub _s { my $v = shift; ref $v ? $j->encode($v) : defined $v ? "$v" : 'undef' }

sub eqq {
    my ( $g, $w, $n ) = @_;
    my ( $a, $b ) = ( _s($g), _s($w) );
    $a =~ s/"(-?\d+(?:\.\d+)?)"/$1/g;
    $b =~ s/"(-?\d+(?:\.\d+)?)"/$1/g;
    $a eq $b or die( ( $n // 'value' ) . ": got $a want $b at line " . (caller)[2] . "\n" );
}

sub ok2 {
    $_[0] or die( ( $_[1] // 'assertion' ) . ' failed at line ' . (caller)[2] . "\n" );
    $_[0];
}

sub dies {
    my ( $f, $re ) = @_;
    eval { $f->(); 1 } and die( 'nothing thrown at line ' . (caller)[2] . "\n" );
    my $e = $@;
    $e =~ $re or die("wrong error $e");
    $e;
}

sub wait_for {
    my ( $f, $s, $n ) = @_;
    my $e = time + ( $s || 8 );
    while ( time < $e ) { my $v = $f->(); return $v if $v; sleep 0.05 }
    die 'timeout ' . ( $n // 'condition' ) . ' line ' . (caller)[2] . "\n";
}
1;
