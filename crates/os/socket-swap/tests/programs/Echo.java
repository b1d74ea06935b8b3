// java Echo.java server|client SOCKET: an echo over a channel in a selector, and one that checks it.
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

public class Echo {
    static final int TOTAL = 3000000;

    static byte byteAt(int index) {
        return (byte) (index * 131 + index / 251 * 17);
    }

    public static void main(String[] words) throws Exception {
        UnixDomainSocketAddress address = UnixDomainSocketAddress.of(words[1]);
        if (words[0].equals("server")) serve(address);
        else ask(address);
    }

    static void serve(UnixDomainSocketAddress address) throws Exception {
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        listener.bind(address);
        listener.configureBlocking(false);
        Selector selector = Selector.open();
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel end = listener.accept();
                    end.configureBlocking(false);
                    end.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                    continue;
                }
                SocketChannel end = (SocketChannel) key.channel();
                ByteBuffer bytes = (ByteBuffer) key.attachment();
                if (key.isReadable() && end.read(bytes) < 0) {
                    end.close();
                    continue;
                }
                bytes.flip();
                end.write(bytes);
                boolean isRest = bytes.hasRemaining();
                bytes.compact();
                key.interestOps((isRest ? SelectionKey.OP_WRITE : 0) | (bytes.hasRemaining() ? SelectionKey.OP_READ : 0));
            }
            selector.selectedKeys().clear();
        }
    }

    static void ask(UnixDomainSocketAddress address) throws Exception {
        SocketChannel end = SocketChannel.open(address);
        int sent = 0, received = 0;
        ByteBuffer in = ByteBuffer.allocate(65536);
        while (received < TOTAL) {
            int length = Math.min((int) (1 + sent * 7919L % 9000), TOTAL - sent);
            if (length > 0) {
                ByteBuffer out = ByteBuffer.allocate(length);
                for (int index = 0; index < length; index++) out.put(byteAt(sent + index));
                out.flip();
                while (out.hasRemaining()) end.write(out);
                sent += length;
            }
            while (received < sent) {
                in.clear();
                if (end.read(in) < 0) throw new Exception("the server left");
                in.flip();
                while (in.hasRemaining())
                    if (in.get() != byteAt(received++)) throw new Exception("another byte at " + (received - 1));
            }
        }
        end.close();
        System.out.println(received + " bytes came back as they were");
    }
}
