import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import ml.dmlc.xgboost4j.java.Booster;
import ml.dmlc.xgboost4j.java.XGBoost;
import ml.dmlc.xgboost4j.java.XGBoostError;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import redis.clients.jedis.Jedis;

/**
 * Kafka Streams on the same work: Avro in, lookups in Redis, XGBoost, scores out, exactly once.
 *
 * <p>One record at a time, as its processors take them, on as many threads as XGBoost has in the
 * other programs. Both lookups are one MGET.
 *
 * <p>Arguments: the task file, and the milliseconds between commits.
 */
public final class KafkaStreamsPeer {
    private static final int PREFIX_BYTES = 5;
    private static final int FEATURES = 32;
    private static final int[] ALL_TREES = {0, 0};

    public static void main(String[] arguments) throws Exception {
        JsonNode task =
                JsonMapper.builder()
                        .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
                        .build()
                        .readTree(new File(arguments[0]));
        Serde<byte[]> bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(task.get("input_topic").asText(), Consumed.with(bytes, bytes))
                .processValues(() -> new Scorer(task))
                .to(task.get("output_topic").asText(), Produced.with(bytes, bytes));
        KafkaStreams streams = new KafkaStreams(builder.build(), options(task, arguments[1]));
        streams.setStateListener(
                (now, before) -> {
                    if (now == KafkaStreams.State.RUNNING) {
                        System.out.println("ready: partitions are assigned");
                    }
                });
        // Without it, a stop by a signal has a status that tells of no success.
        Runtime.getRuntime()
                .addShutdownHook(
                        new Thread(
                                () -> {
                                    boolean closed = streams.close(Duration.ofSeconds(30));
                                    Runtime.getRuntime().halt(closed ? 0 : 1);
                                }));
        streams.start();
    }

    private static Properties options(JsonNode task, String commitMs) throws IOException {
        Properties options = new Properties();
        options.put(StreamsConfig.APPLICATION_ID_CONFIG, task.get("group").asText());
        options.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, task.get("bootstrap").asText());
        options.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        options.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitMs);
        options.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, task.get("threads").asInt());
        String state = Files.createTempDirectory("kafka-streams").toString();
        options.put(StreamsConfig.STATE_DIR_CONFIG, state);
        options.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        options.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        options.put(StreamsConfig.producerPrefix("linger.ms"), "5");
        return options;
    }

    /** Values of one lookup in Redis: int64 of the time, then float64 values, little-endian. */
    private static final class Lookup {
        final byte[] prefix;
        final String flag;
        private final double[] defaults;

        Lookup(JsonNode lookup) {
            prefix = lookup.get("prefix").asText().getBytes(StandardCharsets.UTF_8);
            flag = "lookup_missing:" + lookup.get("name").asText();
            defaults = new double[lookup.get("defaults").size()];
            for (int i = 0; i < defaults.length; i++) {
                defaults[i] = lookup.get("defaults").get(i).asDouble();
            }
        }

        byte[] key(Object entity) {
            byte[] name = entity.toString().getBytes(StandardCharsets.UTF_8);
            return ByteBuffer.allocate(prefix.length + name.length).put(prefix).put(name).array();
        }

        double[] values(byte[] stored) {
            if (stored == null) {
                return defaults;
            }
            double[] values = new double[defaults.length];
            ByteBuffer body = ByteBuffer.wrap(stored).order(ByteOrder.LITTLE_ENDIAN).position(8);
            body.asDoubleBuffer().get(values);
            return values;
        }
    }

    /** Decode, look up, score and encode one record. */
    private static final class Scorer extends ContextualFixedKeyProcessor<byte[], byte[], byte[]> {
        private final JsonNode task;
        private final JsonNode score;
        private Lookup card;
        private Lookup merchant;
        private Jedis redis;
        private Booster booster;
        private Schema scoreSchema;
        private GenericDatumReader<GenericRecord> reader;
        private GenericDatumWriter<GenericRecord> writer;
        private BinaryDecoder decoder;
        private BinaryEncoder encoder;
        private byte[] scorePrefix;
        private Map<String, Integer> vector;

        Scorer(JsonNode task) {
            this.task = task;
            score = task.get("score");
        }

        @Override
        public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
            super.init(context);
            card = new Lookup(task.get("lookups").get(0));
            merchant = new Lookup(task.get("lookups").get(1));
            redis = new Jedis(URI.create(task.get("redis_url").asText()));
            vector = new HashMap<>();
            score.get("vector")
                    .properties()
                    .forEach(entry -> vector.put(entry.getKey(), entry.getValue().asInt()));
            int schemaId = score.get("schema_id").asInt();
            scorePrefix = ByteBuffer.allocate(PREFIX_BYTES).put((byte) 0).putInt(schemaId).array();
            try {
                booster = XGBoost.loadModel(task.get("model_file").asText());
                booster.setParam("nthread", 1);
                scoreSchema = schema(score.get("schema_file"));
                reader = new GenericDatumReader<>(schema(task.get("event_schema_file")));
            } catch (XGBoostError | IOException error) {
                throw new IllegalStateException(error);
            }
            writer = new GenericDatumWriter<>(scoreSchema);
        }

        private static Schema schema(JsonNode path) throws IOException {
            return new Schema.Parser().parse(new File(path.asText()));
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> record) {
            try {
                context().forward(record.withValue(score(record.value())));
            } catch (XGBoostError | IOException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void close() {
            redis.close();
            booster.dispose();
        }

        private byte[] score(byte[] value) throws XGBoostError, IOException {
            int length = value.length - PREFIX_BYTES;
            decoder = DecoderFactory.get().binaryDecoder(value, PREFIX_BYTES, length, decoder);
            GenericRecord event = reader.read(null, decoder);
            List<byte[]> stored =
                    redis.mget(
                            card.key(event.get("customer_id")),
                            merchant.key(event.get("merchant_id")));
            byte[] ofCard = stored.get(0);
            byte[] ofMerchant = stored.get(1);
            float[] row = features(event, card.values(ofCard), merchant.values(ofMerchant));
            float[][] margins =
                    booster.inplace_predict(
                            row,
                            1,
                            FEATURES,
                            Float.NaN,
                            ALL_TREES,
                            Booster.PredictionType.kMargin,
                            null);
            List<String> flags = new ArrayList<>();
            if (ofCard == null) {
                flags.add(card.flag);
            }
            if (ofMerchant == null) {
                flags.add(merchant.flag);
            }
            return written(event, row, margins[0][0], flags);
        }

        private byte[] written(
                GenericRecord event, float[] row, float margin, List<String> flags)
                throws IOException {
            double probability = 1.0 / (1.0 + Math.exp(-(double) margin));
            GenericRecord model = new GenericData.Record(scoreSchema.getField("model").schema());
            model.put("name", score.get("model_name").asText());
            model.put("version", score.get("model_version").asText());
            RecordMetadata at = context().recordMetadata().orElseThrow();
            GenericRecord source = new GenericData.Record(scoreSchema.getField("source").schema());
            source.put("topic", at.topic());
            source.put("partition", at.partition());
            source.put("offset", at.offset());
            Map<String, Float> values = new HashMap<>();
            vector.forEach((name, place) -> values.put(name, row[place]));
            GenericRecord record = new GenericData.Record(scoreSchema);
            record.put("event_id", event.get("transaction_id"));
            record.put("event_time", (Long) event.get("tx_time") * 1000);
            record.put("decision", decision(probability));
            record.put("score", probability);
            record.put("margin", margin);
            record.put("reasons", List.of());
            for (String name : List.of("segment", "policy_version", "feature_set", "device")) {
                record.put(name, score.get(name).asText());
            }
            record.put("model", model);
            record.put("flags", flags);
            record.put("source", source);
            Instant now = Instant.now();
            record.put("scored_at", now.getEpochSecond() * 1_000_000 + now.getNano() / 1000);
            record.put("carried", Map.of());
            record.put("vector", values);
            ByteArrayOutputStream out = new ByteArrayOutputStream(512);
            out.write(scorePrefix);
            encoder = EncoderFactory.get().binaryEncoder(out, encoder);
            writer.write(record, encoder);
            encoder.flush();
            return out.toByteArray();
        }

        private String decision(double probability) {
            for (JsonNode band : score.get("bands")) {
                if (probability >= band.get(1).asDouble()) {
                    return band.get(0).asText();
                }
            }
            return score.get("default").asText();
        }
    }

    /** Features in the order of the pipeline's features.yaml. */
    private static float[] features(GenericRecord event, double[] card, double[] merchant) {
        double amount = (Double) event.get("amount");
        ZonedDateTime at = Instant.ofEpochMilli((Long) event.get("tx_time")).atZone(ZoneOffset.UTC);
        String channel = event.get("channel").toString();
        Object country = event.get("country");
        int weekday = at.getDayOfWeek().getValue() - 1;
        boolean night = at.getHour() <= 6;
        boolean ecom = channel.equals("ecom");
        boolean cash = channel.equals("atm");
        float[] row = new float[FEATURES];
        int place = 0;
        for (double value :
                new double[] {
                    amount,
                    Math.log1p(Math.max(amount, 0)),
                    modulo(amount, 1),
                    bit(amount < 0),
                    bit(modulo(amount, 10) == 0),
                    at.getHour(),
                    weekday,
                    at.getDayOfMonth(),
                    bit(weekday >= 5),
                    bit(night),
                    code(channel, "pos", "ecom", "atm", "other"),
                    code(event.get("currency").toString(), "EUR", "USD", "GBP", "CHF"),
                    country == null
                            ? Double.NaN
                            : code(country.toString(), "DE", "FR", "NL", "GB", "US", "CH"),
                    bit(ecom),
                    bit(cash),
                    country == null ? Double.NaN : bit(!country.toString().equals("DE")),
                    bit(ecom && night),
                    cash ? amount : 0
                }) {
            row[place++] = (float) value;
        }
        for (double value : card) {
            row[place++] = (float) value;
        }
        for (double value : merchant) {
            row[place++] = (float) value;
        }
        row[place++] = (float) (amount / card[0]);
        row[place++] = (float) ((amount - card[0]) / Math.max(card[1], 0.01));
        row[place++] = (float) (amount / merchant[1]);
        row[place] = (float) (card[2] / Math.max(card[3] / 4, 1));
        return row;
    }

    private static double modulo(double value, double divisor) {
        double rest = value % divisor;
        return rest < 0 ? rest + divisor : rest;
    }

    private static double bit(boolean value) {
        return value ? 1 : 0;
    }

    /** Place of the value among the named ones; the number of them for any other. */
    private static double code(String value, String... names) {
        for (int i = 0; i < names.length; i++) {
            if (names[i].equals(value)) {
                return i;
            }
        }
        return names.length;
    }
}
