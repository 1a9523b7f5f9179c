#!/bin/sh
# Makes the certificates of the TLS tests anew. They are kept in the repository because golden answers have their hashes and serial
# numbers; their keys protect nothing. Every one but `expired` is good for a hundred years.
set -eu
cd "$(dirname "$0")"
rm -rf ./*.pem ./*.key work
mkdir work
days=36500
authority() { # name, common name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days $days \
    -subj "/CN=$2" -set_serial "$3" -addext "keyUsage=critical,keyCertSign,cRLSign"
}
leaf() { # name, subject, subjectAltName or empty, authority, serial, kind of key
  if [ "$6" = rsa ]; then openssl genrsa -out "$1.key" 2048; else openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; fi
  openssl req -new -key "$1.key" -subj "$2" -out work/request
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n' > work/extensions
  [ -z "$3" ] || printf 'subjectAltName=%s\n' "$3" >> work/extensions
  openssl x509 -req -in work/request -CA "$4.pem" -CAkey "$4.key" -set_serial "$5" -days $days -extfile work/extensions -out "$1.pem"
}
authority ca "Test CA" 1
authority other_ca "Other CA" 2
leaf server "/CN=server" "DNS:a.test,DNS:*.wild.test,URI:spiffe://test/server,IP:127.0.0.1" ca 4096 rsa
leaf server_ecdsa "/CN=server ecdsa" "DNS:a.test" ca 4097 ec
leaf b "/CN=b" "DNS:b.test" ca 4098 ec
leaf client "/C=NL/O=Org, Inc./OU=unit/CN=client" "URI:spiffe://test/client,DNS:client.test,DNS:two.test,email:me@client.test,IP:10.1.2.3" ca 0x0badcafe01 ec
leaf bare "/CN=bare" "" ca 4099 ec
leaf stranger "/CN=stranger" "URI:spiffe://test/client,DNS:client.test,DNS:a.test" other_ca 4100 ec
openssl ec -in client.key -aes256 -passout pass:secret -out client_encrypted.key
leaf expired "/CN=expired" "DNS:a.test,DNS:client.test" ca 4101 ec
: > work/index; echo 1005 > work/serial
cat > work/ca.cnf <<C
[ca]
default_ca=d
[d]
database=work/index
new_certs_dir=work
serial=work/serial
default_md=sha256
policy=p
unique_subject=no
crlnumber=work/serial
[p]
commonName=supplied
C
openssl ca -batch -config work/ca.cnf -cert ca.pem -keyfile ca.key -in work/request -extfile work/extensions \
  -startdate 20200101000000Z -enddate 20210101000000Z -notext -out expired.pem
openssl ca -config work/ca.cnf -cert ca.pem -keyfile ca.key -revoke client.pem
openssl ca -config work/ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays $days -out crl.pem
rm -rf work
