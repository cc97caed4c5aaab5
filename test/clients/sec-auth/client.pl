use strict;
use warnings;
use Helpers;
use Redis;
my $r = Redis->new( server => "127.0.0.1:$ENV{AP}", password => 's3cret' );
eqq( $r->get('app:php'), 1 );
dies( sub { Redis->new( server => "127.0.0.1:$ENV{AP}", password => 'x' )->ping },
    qr/WRONGPASS|NOAUTH|refused/ );
my $s = Redis->new( sock => $ENV{SOCK}, password => 's3cret' );
eqq( $s->get('app:php'), 1 );
