use strict;
use warnings;
use Helpers;
$ENV{SSL_CERT_FILE} = "$ENV{WORK}/ca.crt";
delete $ENV{SSL_CERT_DIR};
eval { require IO::Socket::SSL; require Redis; 1 }
  or do { print "perl TLS skipped (no IO::Socket::SSL)\n"; exit 0 };
my $r = eval {
    Redis->new(
        server          => "localhost:$ENV{AP}",
        ssl             => 1,
        SSL_verify_mode => IO::Socket::SSL::SSL_VERIFY_PEER(),
        reconnect       => 0
    );
} or die $@;
eqq( $r->get('io'), 'v' );
