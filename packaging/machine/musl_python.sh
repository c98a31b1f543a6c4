# Compiles CPython and zlib of Debian's sources with Debian's compiler for musl, and lays out a root
# in /out. $1 is the source package of Debian, such as python3.13.
set -eu
cd /root
sed s/^deb/deb-src/ /etc/apt/sources.list > /etc/apt/sources.list.d/sources.list
apt-get --quiet --quiet -o Acquire::Check-Valid-Until=false update
# The sandbox's user cannot write here.
apt-get --quiet --quiet -o APT::Sandbox::User=root source --download-only --tar-only "$1" zlib
mkdir python zlib
tar --extract --strip-components=1 --directory=python --file="$(echo "$1"_*.orig.tar.*)"
tar --extract --strip-components=1 --directory=zlib --file="$(echo zlib_*.orig.tar.*)"

# The compiler for musl sees musl's headers alone; those of the kernel belong to no libc.
gnu=$(gcc -dumpmachine)
headers=/usr/include/$(echo "$gnu" | sed s/-gnu/-musl/)
ln -s /usr/include/linux /usr/include/asm-generic "/usr/include/$gnu/asm" "$headers"
# It answers with glibc's name of the system, which configure compares with that of the headers.
# Alpine's compiler answers with none.
cat > /usr/local/bin/musl-cc <<'SHELL'
#!/bin/sh
[ "$1" = --print-multiarch ] || exec musl-gcc "$@"
SHELL
chmod +x /usr/local/bin/musl-cc
export CC=musl-cc

(cd zlib && CFLAGS="-O2 -fPIC" ./configure --static --prefix=/opt/zlib && make install)
cd python
# Threads keep the stacks of 128 KiB that musl gives, which is harder for a server than the 1 MiB that
# Alpine compiles in.
export OPT="-DNDEBUG -fwrapv -O1"
export ZLIB_CFLAGS=-I/opt/zlib/include ZLIB_LIBS=/opt/zlib/lib/libz.a
# zlib is what pip needs. There are no TLS and no ctypes, whose libraries would be compiled, too.
./configure --prefix=/usr --disable-test-modules --without-doc-strings --without-ensurepip
make
make install DESTDIR=/out

# The loader of musl is also its libc.
cp --dereference --parents /lib/ld-musl-*.so.1 /out
mkdir -p /out/bin /out/etc /out/tmp /out/root
echo root:x:0:0:root:/root:/bin/sh > /out/etc/passwd
echo root:x:0: > /out/etc/group
cp /bin/busybox /out/bin
# From within, so that the links name the place that BusyBox then has.
chroot /out /bin/busybox --install -s /bin
